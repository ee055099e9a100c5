"""How commands and files reach an Android device: sessions over TCP, USB, or the host's adb server."""
