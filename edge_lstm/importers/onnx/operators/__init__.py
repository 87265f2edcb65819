"""ONNX operators: a record for each (`record.py`), one file for each family, one table (`table.py`)."""
