"""StableHLO to the bytes of a .tflite file, in a process of its own.

litert-converter ends the whole process by a fault in its C++ code for some networks, and an error
of one conversion can leave it unfit for the next. Here it may.

python -m bodyjax.export.tflite_converter INPUT,INPUT OUTPUT,OUTPUT < TEXT > FILE
"""

from __future__ import annotations

import subprocess
import sys

SIGNATURE = "serving_default"


class Refused(Exception):
    """What the converter says of a program that it doesn't take."""


def converted(text: str, inputs: list[str], outputs: list[str]) -> bytes:
    """The bytes of a .tflite file of StableHLO as text. Refused says why there is none."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, ",".join(inputs), ",".join(outputs)],
        input=text.encode(), capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode < 0:
        raise Refused(f"the converter crashed (signal {-done.returncode})")
    if done.returncode:
        raise Refused(done.stderr.decode(errors="replace").rpartition("\nrefused: ")[2].strip())
    return done.stdout


def main(arguments: list[str]) -> int:
    inputs, outputs = (names.split(",") for names in arguments)
    try:
        data = _converted(sys.stdin.read(), inputs, outputs)
    except Exception as error:  # of the converter's own types, which it does not name
        print(f"\nrefused: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(data)
    return 0


def _converted(text: str, inputs: list[str], outputs: list[str]) -> bytes:
    from litert_converter.mlir import ir, passmanager
    from litert_converter.mlir._mlir_libs import converter_api_ext as api

    context = ir.Context()
    api.prepare_mlir_context(context)
    with context:
        # As text: as bytecode some steps are not read.
        module = ir.Module.parse(text)
        api.set_signature(
            module.operation, signature_name=SIGNATURE, input_names=inputs, output_names=outputs
        )
        module = api.merge_modules([module])
        config = api.ConvertToTFLConfig()
        config.unsafe_fuse_dynamic_shaped_broadcast = True
        api.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
        data: bytes = api.export_flatbuffer_to_bytes(module.operation)
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
