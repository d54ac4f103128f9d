"""Builds the page of docs/demo into a folder, and serves it on this machine alone.

PYTHONPATH=. python tools/demo.py [--checkpoint phone] [--scorer pushup] [--out build/demo]
    [--float32] [--runtime FOLDER] [--no-serve] [--port 8000]

The folder holds the page, its models (tools/demo_models.py), the runtime that `npm ci` fetched
into --runtime (docs/demo/package-lock.json names it), and the runtime's licences.
bodyjax.html in it is the same page as one file that opens from disk (tools/demo_single.py). Serving
is on 127.0.0.1 only, with the headers that let the runtime use several threads. Exit codes: 0 done;
2 a mistake in the input.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from bodyjax.errors import UserError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "demo"
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""Files of onnxruntime-web that the page loads."""
LICENCES = {
    "LICENSE": "onnxruntime-LICENSE.txt",
    "ThirdPartyNotices.txt": "onnxruntime-notices.txt",
}
"""Of onnxruntime, whose npm package lacks them; its wheel has them."""
SINGLE = "bodyjax.html"
ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="phone", help="a detector with heads alone")
    parser.add_argument("--scorer", default="pushup", help="a scorer of one exercise")
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--float32", action="store_true", help="weights in full precision")
    parser.add_argument(
        "--runtime", type=Path, default=Path("build/demo_runtime"), help="where npm ci was run"
    )
    parser.add_argument("--no-serve", action="store_true", help="build only")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    try:
        build(options)
        if not options.no_serve:
            serve(options.out, options.port)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def build(options: argparse.Namespace) -> None:
    """Fills the folder --out, once all is made. UserError if the runtime or a package is missing,
    or a checkpoint is none or of another kind."""
    from tools import demo_models, demo_single

    out: Path = options.out.resolve()
    runtime = options.runtime / "node_modules" / "onnxruntime-web" / "dist"
    licences = checked(runtime)
    with beside(out) as folder:
        copy_page(folder, runtime, licences)
        demo_models.write(options.checkpoint, options.scorer, folder, full=options.float32)
        page = demo_single.page(folder)
        (folder / SINGLE).write_text(page, "utf-8")
        out.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.replace(out / file.name)
    print(f"{options.out / SINGLE}: {len(page) / 1e6:.1f} MB, opens from disk")


def checked(runtime: Path) -> Path:
    """The folder of onnxruntime's licences. UserError if files of the runtime or the package are
    missing."""
    missing = [name for name in RUNTIME if not (runtime / name).exists()]
    if missing:
        hint = "make demo fetches it: npm ci with docs/demo/package-lock.json"
        raise UserError(f"lacks {', '.join(missing)}", file=runtime, hint=hint)
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise UserError("onnxruntime is not installed", hint='pip install "bodyjax[onnx]"')
    return Path(spec.origin).parent


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A temporary folder beside the folder `out`, removed at the end. UserError if there can be
    none, or `out` is a file."""
    if out.exists() and not out.is_dir():
        raise UserError("is a file; name a folder", file=out, place="--out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise UserError(f"can't be made ({error.strerror})", file=out, place="--out") from error
    with folder as name:
        yield Path(name)


def copy_page(folder: Path, runtime: Path, licences: Path) -> None:
    """The page, the runtime and its licences into a folder."""
    for source in sorted(PAGE.iterdir()):
        if source.suffix in (".html", ".css", ".mjs"):
            shutil.copyfile(source, folder / source.name)
    for name in RUNTIME:
        shutil.copyfile(runtime / name, folder / name)
    for name, ours in LICENCES.items():
        shutil.copyfile(licences / name, folder / ours)


class Handler(SimpleHTTPRequestHandler):
    """Files of one folder, with the types of modules and wasm and the headers of isolation."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }
    headers_added: ClassVar[Mapping[str, str]] = ISOLATION

    def end_headers(self) -> None:
        for name, value in self.headers_added.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing: a line for each of a page's twenty files says nothing."""


class PlainHandler(Handler):
    """The same without isolation, as most servers answer."""

    headers_added: ClassVar[Mapping[str, str]] = {}


def server(folder: Path, port: int = 0, handler: type[Handler] = Handler) -> ThreadingHTTPServer:
    """A server of a folder on 127.0.0.1, not started; port 0: any that is free."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        hint = "name another one by --port"
        why = error.strerror if isinstance(error, OSError) else "it is not from 0 to 65535"
        raise UserError(f"port {port} can't be used: {why}", hint=hint) from error


def serve(folder: Path, port: int) -> None:
    """Serves a folder until Ctrl-C."""
    with server(folder, port) as serving:
        print(f"http://127.0.0.1:{serving.server_address[1]}/  (Ctrl-C ends it)", flush=True)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
