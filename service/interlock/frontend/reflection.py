"""Describe our services to clients that have no stubs: server reflection, and channelz.

grpcurl, buf curl and Postman ask for version v1 or v1alpha of the same messages; grpcio
brings the latter. Descriptors come from one pool of our own: what else this process
has loaded is nobody's business.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz import ChannelzServicer
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import ReflectionServicer

from interlock.frontend.control_servicer import CONTROL_SERVICE
from interlock.frontend.health import HEALTH_SERVICE
from interlock.frontend.pools import BoundedPool, Pools
from interlock.frontend.rpc import Service, in_pool
from interlock.frontend.transport import SERVICE
from interlock.pb import control_pb2, grpc_service_pb2, health_pb2, model_config_pb2

REFLECTION_METHOD: Final = "ServerReflectionInfo"

_REFLECTION: Final = "grpc.reflection.{}.ServerReflection"
_VERSIONS: Final = ("v1", "v1alpha")
_CHANNELZ_SERVICE: Final = "grpc.channelz.v1.Channelz"


def described_pool() -> DescriptorPool:
    """Return a pool with every file that describes a service of this server."""
    pool = DescriptorPool()
    done: set[str] = set()
    ours = (grpc_service_pb2, model_config_pb2, health_pb2, control_pb2)
    for module in (*ours, channelz_pb2, reflection_pb2):
        _add(pool, module.DESCRIPTOR, done)
    pool.AddSerializedFile(_reflection_v1().SerializeToString())
    return pool


def _add(pool: DescriptorPool, file: FileDescriptor, done: set[str]) -> None:
    """Add a file behind those that it imports."""
    if file.name in done:
        return
    done.add(file.name)
    for dependency in file.dependencies:
        _add(pool, dependency, done)
    pool.AddSerializedFile(file.serialized_pb)


def _reflection_v1() -> FileDescriptorProto:
    """Return the file of v1, which differs from that of v1alpha in its package alone."""
    proto = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    old, new = f".{proto.package}.", ".grpc.reflection.v1."
    proto.name = "grpc/reflection/v1/reflection.proto"
    proto.package = new.strip(".")
    proto.ClearField("options")
    for message in proto.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(old, new)
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(old, new)
            method.output_type = method.output_type.replace(old, new)
    return proto


class DescribedFiles:
    """A descriptor pool as the reflection service asks for it, with methods found by name too.

    The protocol lets clients ask for `<service>.<method>`; protobuf's C pool knows none.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self.FindFileByName = pool.FindFileByName
        self.FindMessageTypeByName = pool.FindMessageTypeByName
        self.FindExtensionByNumber = pool.FindExtensionByNumber
        self.FindAllExtensions = pool.FindAllExtensions
        self._pool = pool

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's
        """Return the file that declares the symbol; raise KeyError where there is none."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            if method in self._pool.FindServiceByName(service).methods_by_name:
                return self._pool.FindFileContainingSymbol(service)
            raise


class Reflection:
    """The reflection streams that are open, so that stopping need not wait for them."""

    def __init__(self) -> None:
        names = [SERVICE, CONTROL_SERVICE, HEALTH_SERVICE, _CHANNELZ_SERVICE]
        names.extend(_REFLECTION.format(version) for version in _VERSIONS)
        self._servicer = ReflectionServicer(names, pool=DescribedFiles(described_pool()))
        # Guards the open streams. A leaf.
        self._lock = threading.Lock()
        self._open: set[grpc.ServicerContext] = set()

    def services(self, pools: Pools) -> tuple[Service, ...]:
        handler = grpc.stream_stream_rpc_method_handler(
            in_pool(self._handler(), pools.introspection),
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return tuple(
            Service(_REFLECTION.format(version), {REFLECTION_METHOD: handler})
            for version in _VERSIONS
        )

    def close(self) -> None:
        """Cancel every stream: a person with a tool may keep one open for days."""
        with self._lock:
            streams = tuple(self._open)
        for context in streams:
            context.cancel()

    def _handler(self) -> Callable[..., Iterator[object]]:
        def handle(requests: Iterator[object], context: grpc.ServicerContext) -> Iterator[object]:
            with self._counted(context):
                yield from self._servicer.ServerReflectionInfo(requests, context)  # pyright: ignore[reportArgumentType] - what grpcio hands over is that

        return handle

    @contextmanager
    def _counted(self, context: grpc.ServicerContext) -> Iterator[None]:
        with self._lock:
            self._open.add(context)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(context)


def channelz_service(pool: BoundedPool) -> Service:
    """Return the handlers of channelz: what gRPC itself knows of sockets and calls."""
    servicer = ChannelzServicer()
    description = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]
    handlers = {}
    for method in description.methods:
        request = getattr(channelz_pb2, method.input_type.name)
        response = getattr(channelz_pb2, method.output_type.name)
        handlers[method.name] = grpc.unary_unary_rpc_method_handler(
            in_pool(_plain(getattr(servicer, method.name)), pool),
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )
    return Service(_CHANNELZ_SERVICE, handlers)


def _plain(method: Callable[[object, object], object]) -> Callable[[object, object], object]:
    """Wrap a method in a function, which can carry the pool's name."""

    def handle(request: object, context: object) -> object:
        return method(request, context)

    return handle
