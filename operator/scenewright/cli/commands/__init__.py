"""The commands, one or two to a module, without their options."""
