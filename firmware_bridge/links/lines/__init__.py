"""The dialect "lines": robots that print text, one line after another, and obey lines."""
