"""The verbs of the command and their options, as typer declares them. Each imports what it needs when it is used."""
