// The program of the book's chapter 15: a traced model in, a picture in, the result out. Without Python.
//
//   libtorch-run MODEL.ts PICTURE [RESULT.ppm]
//
// The model takes raw pixels, (1, height, width, channels) uint8, as the TorchScript files of edgekit's bundles do. A
// picture that it answers with, (1, 3, height, width) from 0 to 1, is written to RESULT.ppm; of a row of numbers the
// largest are printed. TorchScript runs code from its file: check the bundle with `edgekit verify` first.
//
// With T the folder of an installed torch package (python -c "import torch; print(torch.__path__[0])"), in this folder:
//   g++ -std=c++20 -O1 main.cpp -I/usr/include/stb -I$T/include -I$T/include/torch/csrc/api/include -L$T/lib
//       -Wl,-rpath,$T/lib -Wl,--no-as-needed -ltorch_cpu -lc10 -o libtorch-run
#include <ATen/Parallel.h>
#include <torch/script.h>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#include <stb_image.h>

#include <cstdio>

static int run(int count, char** words) {
  if (count < 3) {
    std::fprintf(stderr, "usage: libtorch-run MODEL.ts PICTURE [RESULT.ppm]\n");
    return 2;
  }
  int width = 0, height = 0, channels = 0;
  if (!stbi_info(words[2], &width, &height, &channels)) {
    std::fprintf(stderr, "libtorch-run: %s is no picture that can be read. Give a JPEG, PNG or PPM file\n", words[2]);
    return 1;
  }
  channels = channels < 3 ? 1 : 3;  // an alpha channel is dropped
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(stbi_load(words[2], &width, &height, nullptr, channels),
                                                         stbi_image_free);
  if (!pixels) {
    std::fprintf(stderr, "libtorch-run: %s is damaged: %s\n", words[2], stbi_failure_reason());
    return 1;
  }
  at::set_num_threads(1);
  torch::InferenceMode no_gradients;
  torch::jit::Module model = torch::jit::load(words[1], torch::kCPU);
  model.eval();
  const at::Tensor image = torch::from_blob(pixels.get(), {1, height, width, channels}, torch::kUInt8);
  const at::Tensor answer = model.forward({image}).toTensor().to(torch::kFloat).contiguous();
  if (answer.dim() == 4 && answer.size(1) == 3) {
    if (count < 4) {
      std::fprintf(stderr, "libtorch-run: the model answers with a picture. Give RESULT.ppm\n");
      return 2;
    }
    const at::Tensor levels = answer[0].clamp(0, 1).mul(255).round().permute({1, 2, 0}).to(torch::kUInt8).contiguous();
    std::FILE* file = std::fopen(words[3], "wb");
    if (!file) {
      std::perror(words[3]);
      return 1;
    }
    std::fprintf(file, "P6\n%lld %lld\n255\n", (long long)levels.size(1), (long long)levels.size(0));
    const size_t wanted = size_t(levels.numel()), written = std::fwrite(levels.data_ptr(), 1, wanted, file);
    return std::fclose(file) || written != wanted;
  }
  const at::Tensor row = answer.flatten();
  const auto [values, places] = row.topk(std::min<int64_t>(5, row.numel()));
  for (int64_t i = 0; i < values.numel(); ++i) {
    std::printf("%lld  %.6g\n", (long long)places[i].item<int64_t>(), values[i].item<double>());
  }
  return 0;
}

int main(int count, char** words) {
  try {
    return run(count, words);
  } catch (const std::exception& error) {
    const std::string text = error.what();
    std::fprintf(stderr, "libtorch-run: %s\n", text.substr(0, text.find('\n')).c_str());
    return 1;
  }
}
