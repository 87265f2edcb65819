"""A port by its name, whichever kind it is.

Its rule: what a name means is decided here and nowhere else. A name without "://" is a serial device's.
"""

from __future__ import annotations

from firmware_bridge.ports import network_names
from firmware_bridge.ports.descriptor_port import DescriptorPort
from firmware_bridge.ports.serial_port import Dtr, SerialPort
from firmware_bridge.ports.tcp_port import TcpPort
from firmware_bridge.ports.udp_port import UdpPort

BAUD = 115_200  # of a serial line where nobody says another


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
    if network_names.scheme(name):
        if network_names.parse(name).scheme == "tcp":
            return TcpPort(name, wait)
        return UdpPort(name, exclusive=exclusive, wait=wait)
    return SerialPort(name, baud, dtr=dtr, exclusive=exclusive, low_latency=low_latency, wait=wait)
