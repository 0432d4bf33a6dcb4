client() { code-server --version; }
