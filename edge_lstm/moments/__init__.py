"""Any moment of a recorded drive, and every other way in which it could have gone."""
