"""A method for pulmonary emboli, tried on filling defects that are inserted into one scan."""
