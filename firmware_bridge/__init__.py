"""The serial link between a robot's microcontroller and a program: links, ports, recordings, a simulated robot.

Its rule: bytes in, events out. Between a port and the disk there is no thread, no clock and no randomness, so a
recording replays to the same bits. This package knows nothing of `edge_lstm`; PROTOCOL.md says what is on the wire.

From the ground up; each uses only what stands above it:

    errors       every error raised on purpose
    values       chunks and actions                 declared     borders of what a device may declare
    formats      one message: fields, units, limits dictionary   the formats of a device
    events       what a link makes of the bytes
    ports/       what every port is; serial devices, tcp, udp; only ports read a clock
    table        one table of a robot.toml, key by key        toml_text    values as a TOML file has them
    links/       what every link is; links/own/ is the protocol of PROTOCOL.md, both halves of it; the others are what
                 robots with a firmware of their own speak (links/README.md)
    recognize/   what arrives at a port that nobody has identified
    recordings/  what is in a recording, its recorder and reader, MCAP, a recording as a port
    simulator/   a robot to try it on               c/           the device's half in C, and networks on the board
"""
