server() { exec python3 "$PROGRAMS/index.py"; }
client() {
    echo '{"name": "app", "version": "1.0.0", "scripts": {"use": "node use.js"}}' >package.json
    echo 'console.log(require("left-pad")("text", 8))' >use.js
    npm install --silent --no-audit --no-fund --no-update-notifier --registry "http://$PRODUCTION:8080/npm/" left-pad
    npm run --silent --no-update-notifier use
    npm ls --depth 0 | sed 1d
}
