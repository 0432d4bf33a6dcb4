client() { sudo -n -u other id -un; }
