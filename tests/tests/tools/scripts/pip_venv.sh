server() { exec python3 "$PROGRAMS/index.py"; }
client() {
    python3 -m venv venv
    venv/bin/pip install -q --disable-pip-version-check --index-url "http://$PRODUCTION:8080/simple/" \
        --trusted-host "$PRODUCTION" left-pad
    venv/bin/python -c 'import left_pad; print(left_pad.pad("text", 8))'
}
