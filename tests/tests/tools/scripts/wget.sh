server() {
    certificate
    echo text >file
    exec python3 "$PROGRAMS/web.py" "$SHARED/cert.pem" key.pem
}
client() {
    wget -q --ca-certificate="$SHARED/cert.pem" "https://$PRODUCTION/file"
    cat file
}
