"""Numbers that the processes of one proxy share; neither pools nor the configuration are known here."""
