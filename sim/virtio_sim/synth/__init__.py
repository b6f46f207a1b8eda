"""Area and clock of the endpoint from an open flow: what ``make synth`` measures."""
