"""What a bundle may do, and what signature it must carry, as the user decides. Knows nothing about how a model runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..bundle.bundle import Bundle
from ..engines import RUNS_CODE, check_allowed
from ..errors import UsageError, unknown
from .parent import Worker


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a bundle has to show, and may do, before anything of it is loaded.

    `allow` are formats that run code from the file and may do so; `key` is the public key a bundle must be signed for.
    """

    allow: tuple[str, ...] = ()
    """Formats that may run code from their files."""
    key: Path | None = None
    """The public key (PEM) that must verify a bundle's signature; None asks for no signature."""

    @classmethod
    def asked(cls, *, allow: tuple[str, ...], key: Path | None, require_signature: bool) -> Policy:
        """From the command's options, before any bundle is opened.

        Raises:
            UsageError: a signature is required without a key, the key cannot be read, or `allow` names another format.
            MissingDependency: signatures need a package that is not installed.
        """
        if require_signature and key is None:
            raise UsageError("--require-signature needs a public key to check with: add --key PUBLIC.pem")
        for name in allow:
            if name not in RUNS_CODE:
                raise unknown("format to allow", name, RUNS_CODE)
        if key is not None:
            from ..bundle import signature

            signature.check_key(key)
        return cls(allow=allow, key=key)

    def open(self, path: str | Path) -> Bundle:
        """Opens and checks a bundle that is to be run.

        Raises:
            BundleError: refused, not signed, signed with another key, changed since, or its format is not allowed.
            MissingDependency: signatures need a package that is not installed.
        """
        bundle = self.look(path)
        try:
            check_allowed(bundle.manifest, str(bundle.source), self.allow)
        except BaseException:
            bundle.close()
            raise
        return bundle

    def look(self, path: str | Path) -> Bundle:
        """Opens and checks a bundle of any format, of which nothing is to be loaded. Raises as `open`.

        With a key it is a private copy, so that what was checked is what is used.
        """
        bundle = Bundle.open(path, private=self.key is not None)
        try:
            if self.key is not None:
                from ..bundle import signature

                signature.check(bundle, self.key)
        except BaseException:
            bundle.close()
            raise
        return bundle

    def worker(
        self,
        bundle: Bundle,
        *,
        engine: str | None = None,
        program: str | None = None,
        num_threads: int = 1,
        spin: bool = False,
    ) -> Worker:
        """A worker for a bundle from `open`, with the same permissions; the rest as in `engines.load`."""
        return Worker.for_bundle(
            bundle.folder,
            engine=engine,
            program=program,
            num_threads=num_threads,
            spin=spin,
            allow=self.allow,
            called=bundle.source,
        )

    def signature_of(self, bundle: Bundle) -> str:
        """What is known of the signature of a bundle from `open`: "none", "not checked" or "good"."""
        if self.key is not None:
            return "good"  # otherwise `open` would have refused it
        return "not checked" if bundle.signed else "none"


NO_CODE = Policy()  # the default: no code from files, and no signature required
