"""The serial link between a robot's microcontroller and a program: framing, handshake, ports, recordings, simulator.

Rule: bytes in, events out. Between a port and the disk there is no thread, no clock and no randomness, so a recording
replays to the same bits. This package knows nothing of `edge_lstm`; PROTOCOL.md says what is on the wire.

    errors       every error raised on purpose          formats      one message: fields, units, limits
    messages     chunks, events, actions                dictionary   the formats a device declares
    framing      bytes ↔ frames                         bodies       layouts of the link's own messages
    sequence     which readings are missing             clock        device time → host time
    bridge       the host's half                        device       the firmware's half
    ports        serial devices                         serial_names which device file a name means
    recorder     writing recordings                     recording    reading and replaying them
    counters, histogram                                 simulator/   a robot to try it on
"""
