"""Where bytes come from and go to. Only ports read a clock."""
