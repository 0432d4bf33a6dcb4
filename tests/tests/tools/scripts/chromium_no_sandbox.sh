server() {
    certificate
    echo '<p id="said"></p><script>document.getElementById("said").textContent = "text " + 6 * 7</script>' >page.html
    exec python3 "$PROGRAMS/web.py" "$SHARED/cert.pem" key.pem
}
# What it is told beside where to go.
options=(--no-sandbox)
client() {
    for dir in "$TREE/usr" /usr; do
        browser=$dir/lib/chromium/chromium
        if [ -x "$browser" ]; then break; fi
    done
    "$browser" --headless --disable-gpu --disable-dev-shm-usage --user-data-dir="$HOME/profile" "${options[@]}" \
        --dump-dom "http://$PRODUCTION:8080/page.html" | grep -o 'text [0-9]*'
}
