server() { exec python3 "$PROGRAMS/index.py"; }
client() {
    export KUBECONFIG=$HOME/config
    cat >config <<END
apiVersion: v1
kind: Config
clusters: [{name: production, cluster: {server: "http://$PRODUCTION:8080"}}]
contexts: [{name: production, context: {cluster: production, user: agent}}]
users: [{name: agent, user: {token: text}}]
current-context: production
END
    kubectl get --raw /version | tr -d '\n '
    echo
}
