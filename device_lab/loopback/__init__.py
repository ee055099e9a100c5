"""A phone without hardware: the daemon side of adb on 127.0.0.1, whose commands run on this machine."""
