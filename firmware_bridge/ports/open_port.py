"""A port by its name, whichever kind it is.

Its rule: what a name means is decided here and nowhere else. A name without "://" is a serial device's.
"""

from __future__ import annotations

from firmware_bridge.errors import PortError
from firmware_bridge.ports import network_names, serial_names
from firmware_bridge.ports.descriptor_port import DescriptorPort
from firmware_bridge.ports.serial_port import Dtr, SerialPort
from firmware_bridge.ports.tcp_port import TcpPort
from firmware_bridge.ports.udp_port import UdpPort

BAUD = 115_200  # of a serial line where nobody says another


def is_network(name: str) -> bool:
    """Whether the name is that of a network port, for which a serial line's settings (baud, DTR) mean nothing."""
    return bool(network_names.scheme(name))


def check(name: str) -> None:
    """Raises PortError for what is no name of a port, whichever ports there are."""
    known = network_names.scheme(name)
    if known in network_names.FORMS:
        network_names.parse(name)
    elif known:
        forms = "; ".join(network_names.FORMS.values())
        raise PortError(f"{name!r}: there are no ports {known}://. There are {forms}; and serial devices by path.")
    else:
        serial_names.check(name)


def open_port(
    name: str,
    baud: int = BAUD,
    *,
    dtr: Dtr = "on",
    exclusive: bool = True,
    low_latency: bool = False,
    wait: bool = False,
) -> DescriptorPort:
    """The port of that name, opened: a serial device, `tcp://HOST:PORT`, `udp://HOST:PORT` or `udp://:PORT`.

    baud, dtr, low_latency: of a serial line; network ports have none. exclusive: of a serial device, and of a UDP port
    that listens. wait and errors: see `DescriptorPort`.
    """
    check(name)
    kind = network_names.scheme(name)
    if kind == "tcp":
        return TcpPort(name, wait)
    if kind == "udp":
        return UdpPort(name, exclusive=exclusive, wait=wait)
    return SerialPort(name, baud, dtr=dtr, exclusive=exclusive, low_latency=low_latency, wait=wait)
