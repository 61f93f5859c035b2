"""Make the package `interlock.pb` from protos/, when a wheel is built and by hand.

The messages go into a descriptor pool of our own: tritonclient registers the same
names in protobuf's default pool, and both must fit into one process. `protoc` cannot
generate such modules, so it only makes the descriptors and the type stubs, and the
modules are written here. They work with every protobuf release that we support.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = "interlock.pb"
DESCRIPTORS: Final = "descriptors.binpb"

PACKAGE_MODULE: Final = '''\
"""The messages of protos/, in a descriptor pool of our own.

Made by tools/build_hook.py; changes here are lost.
"""

from interlock.pb.pool import POOL

__all__ = ["POOL"]
'''

POOL_MODULE: Final = '''\
"""The descriptor pool, and message classes out of it.

Made by tools/build_hook.py; changes here are lost.
"""

from pathlib import Path
from typing import Final

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass


def _filled_pool() -> DescriptorPool:
    pool = DescriptorPool()
    data = Path(__file__).with_name("descriptors.binpb").read_bytes()
    # protoc writes a file behind those that it imports, as the pool wants them.
    for file in FileDescriptorSet.FromString(data).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL: Final = _filled_pool()


def _reduce(message: Message) -> tuple[object, ...]:
    # protobuf's own would look nested messages up in the default pool.
    return type(message), (), message.__getstate__()


def _class(message: Descriptor, module: str, qualified_name: str) -> type[Message]:
    """Return the class, and tell it where it can be imported from (pickle, error texts)."""
    message_class = GetMessageClass(message)
    message_class.__module__ = module
    message_class.__qualname__ = qualified_name
    # Not as an assignment, which type checkers refuse.
    setattr(message_class, "__reduce__", _reduce)
    for nested in message.nested_types:
        # protobuf finds a nested class without this, but may forget what was set on it: its own
        # cache of classes is weak.
        setattr(
            message_class, nested.name, _class(nested, module, f"{qualified_name}.{nested.name}")
        )
    return message_class


def members(file: FileDescriptor, module: str) -> dict[str, object]:
    """Return what protoc's own module for this file would hold at its top level."""
    found: dict[str, object] = {}
    for name, enum in file.enum_types_by_name.items():
        found[name] = EnumTypeWrapper(enum)
        found.update((value.name, value.number) for value in enum.values)
    for name, message in file.message_types_by_name.items():
        found[name] = _class(message, module, name)
    return found
'''

FILE_MODULE: Final = '''\
"""The messages of protos/{file}.

Made by tools/build_hook.py; changes here are lost.
"""

{imports}from interlock.pb.pool import POOL, members

DESCRIPTOR = POOL.FindFileByName("{file}")

globals().update(members(DESCRIPTOR, __name__))
'''


class GenerationError(Exception):
    """The .proto files could not be compiled; the text is the compiler's."""


class ProtocolBuildHook(BuildHookInterface[Any]):
    """Called by hatchling, for wheels and for editable installs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        generate(Path(self.root))


def generate(root: Path) -> None:
    """Bring `interlock.pb` in line with protos/."""
    files = _compile(root / "protos")
    package = root.joinpath("service", *PACKAGE.split("."))
    package.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        _write(package / name, content)
    for path in (*package.glob("*_pb2.py"), *package.glob("*_pb2.pyi")):
        if path.name not in files:
            path.unlink(missing_ok=True)


def _compile(protos: Path) -> Mapping[str, bytes]:
    """Return the files of the package by name."""
    sources = sorted(path.name for path in protos.glob("*.proto"))
    files = {
        "__init__.py": PACKAGE_MODULE.encode(),
        "pool.py": POOL_MODULE.encode(),
        "py.typed": b"",
    }
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory)
        _run_protoc(
            f"--proto_path={protos}",
            f"--descriptor_set_out={output / DESCRIPTORS}",
            "--include_imports",
            f"--pyi_out={output}",
            *sources,
        )
        files[DESCRIPTORS] = (output / DESCRIPTORS).read_bytes()
        for source in sources:
            module = f"{source.removesuffix('.proto')}_pb2"
            stub = _strict((output / f"{module}.pyi").read_text(encoding="utf-8"))
            files[f"{module}.py"] = FILE_MODULE.format(file=source, imports=_imports(stub)).encode()
            files[f"{module}.pyi"] = stub.encode()
    return files


def _run_protoc(*arguments: str) -> None:
    # The hook's own interpreter, which has grpcio-tools by the build requirements.
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise GenerationError(run.stderr.strip())


def _strict(stub: str) -> str:
    """Return the stub as it must be inside a package, and without gaps in its types."""
    stub = re.sub(
        r"^import (\w+_pb2) as", rf"from {PACKAGE} import \1 as", stub, flags=re.MULTILINE
    )
    stub = re.sub(r"\b_Mapping(?=[],])", "_Mapping[str, object]", stub)
    # A field whose name is a Python keyword hides in these.
    return stub.replace("**kwargs)", "**kwargs: object)")


def _imports(stub: str) -> str:
    """Return the imports that make the classes of other files, which this file's fields have."""
    modules = re.findall(rf"^from {PACKAGE} import (\w+) as", stub, flags=re.MULTILINE)
    return "".join(f"from {PACKAGE} import {module} as {module}\n" for module in modules)


def _write(path: Path, content: bytes) -> None:
    """Replace the file in one step, so that a process importing it meanwhile sees no half."""
    if path.is_file() and path.read_bytes() == content:
        return
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_bytes(content)
    new.replace(path)


if __name__ == "__main__":
    generate(ROOT)
