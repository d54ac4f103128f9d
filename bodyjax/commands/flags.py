"""Flags of the commands: config files with overrides, settings of a detector; errors as one line.
Imports no jax."""

from __future__ import annotations

import argparse
import ast
import atexit
import difflib
import gc
import importlib.util
import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from ml_collections import ConfigDict

import bodyjax
from bodyjax import config_history, files
from bodyjax.errors import ConfigError, UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 3
"""The same value as in bodyjax.engine.loop, which imports jax."""

STOPPED = "stopped; the same command goes on from what was saved, or starts over if nothing was"

TABLES = ("operations", "multipliers", "sets", "unlabelled")
"""Sections whose fields have names chosen by the user: `--config.SECTION={...}` sets the whole
section."""


PACKAGE = Path(bodyjax.__file__).resolve().parent


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of the command `name`, with the flag that all commands have."""
    made = argparse.ArgumentParser(
        prog=f"bodyjax {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --scale would be --scales
    )
    made.add_argument("--debug", action="store_true", help="show an error's traceback as well")
    return made


def run(main: Callable[[list[str]], int], arguments: Sequence[str] | None = None) -> None:
    """Calls main(arguments), by default those of the process, and exits with its code. A UserError
    gives one line and exit code 2; SIGTERM or Ctrl-C gives one line and exit code 3, when threads
    that still work, as those that compile, have ended. A further one ends the process at once.

    A full disk or a folder that can't be written, wherever it is met, is such an error. What
    libraries say while the process ends does not follow our line. --debug anywhere on the line
    shows the traceback as well.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [word for word in arguments if word != "--debug"]
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the shell ignores it
        signal.signal(signal.SIGINT, _interrupt)
    try:
        code = main(arguments)
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and files.why_unwritten(error) is None:
            raise
        if debug:
            traceback.print_exc()
        else:
            atexit.register(_quiet)
        line = f"error: {_in_one_line(error)}"
        code = EXIT_USER_ERROR
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        for number in (signal.SIGTERM, signal.SIGINT):  # threads may still have work to finish
            signal.signal(number, signal.SIG_DFL)
        line = STOPPED
        code = EXIT_INTERRUPTED
    else:
        sys.exit(code)
    # What the error's frames held is freed now: of shared memory that is freed later, a process of
    # Python's own would say after our line that it leaked.
    gc.collect()
    if code == EXIT_INTERRUPTED:
        atexit.register(print, line, file=sys.stderr)  # Python waits for its threads first
    else:
        print(line, file=sys.stderr)
    sys.exit(code)


def _in_one_line(error: UserError | OSError) -> str:
    found = files.why_unwritten(error)
    if isinstance(error, UserError) or found is None:
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}can't be read or written ({found[0]}); {found[1]}"


def _quiet() -> None:
    """Nothing more on stderr."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, or a moment later if it would be lost or do harm now."""
    while frame is not None:
        if _is_delicate(frame.f_code):
            main = threading.main_thread().ident
            threading.Timer(0.05, signal.pthread_kill, (main, number)).start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _is_delicate(code: CodeType) -> bool:
    """Whether an exception raised there is dropped (__del__, callbacks of the garbage collector:
    jax has one) or would end the process (an import: C++ code that creates a module aborts)."""
    collecting = [getattr(callback, "__code__", None) for callback in gc.callbacks]
    importing = code.co_filename.startswith("<frozen importlib")
    return importing or code.co_name == "__del__" or code in collecting


def shipped_configs() -> dict[str, Path]:
    """The configs that come with bodyjax, by name: inside the installed package, or beside it in a
    checkout."""
    inside = PACKAGE / "configs"
    folder = inside if inside.is_dir() else PACKAGE.with_name("configs")
    files = sorted(folder.glob("*.py"))
    return {file.stem: file for file in files if file.stem != "__init__"}


def load_config(name: str) -> ConfigDict:
    """The config of FILE or FILE:VARIANT, through the file's get_config(variant); FILE may also be
    the name of a shipped config (classifier)."""
    file, _, variant = name.partition(":")
    shipped = shipped_configs()
    path = Path(file)
    if not path.is_file() and file in shipped:
        path = shipped[file]
    if not path.is_file():
        if path.suffix == ".py":
            raise ConfigError("no such config file", file=file)
        hint = f"one of {', '.join(shipped)}, or a file, FILE.py"
        raise ConfigError(f"no config {file!r}", place="--config", hint=hint)
    spec = importlib.util.spec_from_file_location(f"configs.{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(
            f"not Python: {error.msg}", file=file, place=f"line {error.lineno}"
        ) from None
    if not hasattr(module, "get_config"):
        raise ConfigError("has no get_config(variant)", file=file)
    return module.get_config(variant) if variant else module.get_config()


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Takes `--config.a.b=value` (or `--config.a.b value`) out of the arguments."""
    rest: list[str] = []
    overrides: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if not word.startswith("--config."):
            rest.append(word)
            continue
        name, equals, value = word.removeprefix("--config.").partition("=")
        overrides[name] = value if equals else next(words, "")
    return rest, overrides


def override(config: ConfigDict, overrides: dict[str, str]) -> None:
    """Sets fields in place. A section with a field `path` (such as `data`) may be set by its path
    alone; {...} sets the named fields of a section, or a whole table (`TABLES`).

    Values keep the type of the field; ConfigError names an unknown field, or a value that does not
    fit.
    """
    for name, text in overrides.items():
        *path, leaf = name.split(".")
        section: Any = config
        for i, part in enumerate([*path, leaf]):
            if not isinstance(section, ConfigDict) or part not in section:
                known = list(section.keys()) if isinstance(section, ConfigDict) else []
                raise missing_field(config, name, part, known)
            if i < len(path):
                section = section[part]
        old = section[leaf]
        if isinstance(old, ConfigDict) and text.lstrip().startswith("{") and leaf not in TABLES:
            parts = _value(text, old, name).to_dict()
            texts = {k: v if isinstance(v, str) else repr(v) for k, v in parts.items()}
            override(config, {f"{name}.{field}": part for field, part in texts.items()})
            continue
        if isinstance(old, ConfigDict) and "path" in old:
            section, leaf = old, "path"
        section[leaf] = _value(text, section[leaf], name)


def missing_field(config: ConfigDict, name: str, part: str, known: list[str]) -> ConfigError:
    """The message for the field `name`, whose `part` is not among those `known` there."""
    near = difflib.get_close_matches(part, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"fields: {', '.join(known)}"
    if (new := config_history.new_name(str(config.get("system", "")), name)) is not None:
        hint = f"it is called config.{new} now"
    return ConfigError("there is no such field", place=f"config.{name}", hint=hint)


def _value(text: str, old: Any, name: str) -> Any:
    if isinstance(old, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if old is None:
        return value
    if isinstance(old, ConfigDict):
        if not isinstance(value, dict) or not all(isinstance(field, str) for field in value):
            hint = f"{{'FIELD': value}}; now {', '.join(old.keys())}"
            raise ConfigError(f"{text!r} is not a section", place=f"config.{name}", hint=hint)
        return ConfigDict(value)
    if isinstance(old, bool) or not isinstance(old, int | float | tuple | list):
        fits = isinstance(value, type(old))
    elif isinstance(old, float):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if fits else value
    elif isinstance(old, int):
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, tuple | list)
        value = tuple(value) if fits else value
    if not fits:
        raise ConfigError(
            f"{text!r} is not {type(old).__name__}", place=f"config.{name}", hint=f"now {old!r}"
        )
    return value


def check_options(function: Callable[..., Any], given: Mapping[str, Any], system: str) -> None:
    """ConfigError if `function`, of a task of `system`, has no parameter for one of `given`."""
    parameters = inspect.signature(function).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    for option in given:
        if option not in parameters:
            flag = "min-score" if option == "min_person" else option.replace("_", "-")
            raise ConfigError(f"--{flag} is not for checkpoints of system {system}")


def add_detector_flags(parser: argparse.ArgumentParser) -> None:
    """Test-time settings of a detector (bodyjax.detect.Settings), and its second look."""
    group = parser.add_argument_group("detector")
    group.add_argument("--size", type=int, help="side of the canvas (docs/detecting.md)")
    group.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    group.add_argument("--scales", help="average over these, e.g. 0.75,1,1.25")
    group.add_argument("--refine", choices=("parabola", "dark", "udp"), help="sub-pixel rule")
    group.add_argument("--second", help="another detector, as large, looks again at each person")
    group.add_argument("--turns", action="store_true", help="there: unsure people turned as well")
    group.add_argument("--second-flip", action="store_true", help="there: mirrored as well")


def detector_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The given flags, as bodyjax.detect.load takes them; ConfigError for a mistake."""
    given: dict[str, Any] = {}
    if options.size is not None:
        given["size"] = options.size
    if options.flip:
        given["flip"] = True
    if options.refine is not None:
        given["refine"] = options.refine
    if options.second is not None:
        given["second"] = options.second
    for name in ("turns", "second_flip"):
        if getattr(options, name):
            if options.second is None:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} belongs to a second look", hint="--second large")
            given[name] = True
    if options.scales is not None:
        try:
            given["scales"] = tuple(float(word) for word in options.scales.split(","))
        except ValueError:
            raise ConfigError(
                f"{options.scales!r} is no list of numbers", place="--scales", hint="0.75,1,1.25"
            ) from None
    return given


def least_score(text: str | None) -> float | None:
    """The value of --min-score; ConfigError if it is not a number from 0 to 1."""
    from bodyjax.detect.found import checked_score

    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        hint = "give a number from 0 to 1"
        raise ConfigError(f"{text!r} is no number", place="--min-score", hint=hint) from None
    return checked_score(value, "--min-score")


def named_path(text: str) -> Path:
    """The value of a flag that names a file or folder; ConfigError for "", which would be the
    folder where one stands."""
    if not text:
        raise ConfigError("a flag names a file or folder, but its value is empty")
    return Path(text)


def whole_number(text: str, flag: str, most: int) -> int:
    """The value of a flag; ConfigError if it is not a whole number from 1 to `most`."""
    if not text.isdecimal() or not 1 <= int(text[:9]) <= most:
        hint = f"give a whole number from 1 to {most}"
        raise ConfigError(f"{text!r} is none", place=flag, hint=hint)
    return int(text)
