server() {
    certificate
    echo text >file
    exec python3 "$PROGRAMS/web.py" "$SHARED/cert.pem" key.pem
}
client() {
    curl -sS --cacert "$SHARED/cert.pem" "https://$PRODUCTION/file"
    curl -sS --cacert "$SHARED/cert.pem" -o /dev/null -w '%{http_code}\n' "https://$PRODUCTION/absent"
    curl -sS "http://$PRODUCTION:8080/file"
}
