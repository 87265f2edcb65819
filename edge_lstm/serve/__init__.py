"""What a running robot shows the world: a live page, metrics, MQTT, Foxglove, UDP. A process of its own."""
