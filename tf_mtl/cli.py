"""The command line `tf-mtl`: finds the sub-command, reads its options, runs it."""

import importlib
import os
import sys
import textwrap
from collections.abc import Sequence
from types import ModuleType

from absl import flags, logging

from tf_mtl.names import unknown_name_error

# In the order of the help. A new command is one file in `commands` and one name here.
COMMANDS = (
    "data describe",
    "data prepare",
    "train",
    "compare",
    "evaluate",
    "inspect",
    "serve",
    "loadtest",
    "bench step",
    "bench serving",
    "bench models",
    "bench hlo",
    "bench pareto",
    "methods",
    "models",
    "demo",
)

# What a user can put right. Other exceptions are defects and keep their traceback.
_USER_ERRORS = (flags.Error, ValueError, OSError)
_USAGE_ERROR = 2
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: sequence of strings, the arguments after the program's name. `None`
            takes those of the process.

    Returns:
        Exit code: 0, 2 after an error of the user, 130 after an interruption.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(_overview())
        return 0
    if argv[0] == "--version":
        print(_load_version())
        return 0
    name = next((n for n in COMMANDS if argv[: len(n.split())] == n.split()), None)
    if name is None:
        return _fail("tf-mtl", _unknown(argv))
    return run_command(_command(name), f"tf-mtl {name}", argv[len(name.split()) :])


def run_command(command: ModuleType, program: str, arguments: Sequence[str]) -> int:
    """Runs a module that is a command.

    Args:
        command: has a docstring, the help; `define_flags(values)`; and `run(values)`,
            which returns None or an exit code.
        program: what the user typed for it.
        arguments: sequence of strings, the options.

    Returns:
        Exit code: that of the command, 2 after an error of the user, 130 after an
        interruption.
    """
    # Device and instruction set notes hide what a command prints.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    values = flags.FlagValues()
    flags.DEFINE_bool(
        "help", False, "Print this text.", short_name="h", flag_values=values
    )
    flags.DEFINE_bool(
        "debug", False, "Print the traceback of an error.", flag_values=values
    )
    command.define_flags(values)
    logging.set_verbosity(logging.ERROR)
    try:
        rest = values([program, *arguments])[1:]
        if len(rest) == 1 and hasattr(command, "ARGUMENT"):
            values[command.ARGUMENT].value = rest.pop()
        if values.help:
            print(_help(command, values))
            return 0
        if rest:
            raise flags.Error(
                f"Options are written --name=value. Received: {' '.join(rest)!r}."
            )
        return command.run(values) or 0
    except _USER_ERRORS as error:
        if values.is_parsed() and values.debug:
            raise
        notes = getattr(error, "__notes__", [])
        return _fail(program, " ".join([str(error), *notes]))
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted.", file=sys.stderr)
        return _INTERRUPTED


def _command(name: str) -> ModuleType:
    return importlib.import_module(f"tf_mtl.commands.{name.replace(' ', '_')}")


def _load_version() -> str:
    from tf_mtl.version import __version__

    return __version__


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        f"  {name:{width}}  {_docstring(_command(name)).splitlines()[0]}"
        for name in COMMANDS
    ]
    return "\n".join(
        [
            "tf-mtl: multi-task ranking models for Keras, with gradient balancing.",
            "",
            *lines,
            "",
            "`tf-mtl COMMAND --help` shows an example, all options and their defaults.",
        ]
    )


def _help(command: ModuleType, values: flags.FlagValues) -> str:
    lines = [_docstring(command), "", "Options (default):"]
    for option in values:
        flag = values[option]
        if option != flag.name:  # A short name.
            continue
        default = "" if flag.default is None else f" ({flag.default_as_str})"
        lines.append(f"  --{flag.name}{default}")
        lines.append(textwrap.indent(textwrap.fill(flag.help, 76), " " * 6))
    return "\n".join(lines)


def _docstring(command: ModuleType) -> str:
    return (command.__doc__ or "").strip()


def _unknown(argv: Sequence[str]) -> str:
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    words = " ".join(argv[:2]) if argv[0] in groups else argv[0]
    error = unknown_name_error("command", words, COMMANDS)
    return f"{error} `tf-mtl --help` says what they do."


def _fail(program: str, message: str) -> int:
    print(f"{program}: error: {message}", file=sys.stderr)
    return _USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
