server() { exec python3 "$PROGRAMS/model.py"; }
client() {
    mkdir .codex
    cat >.codex/config.toml <<END
model = "stand-in"
model_provider = "stand-in"

[model_providers.stand-in]
name = "stand-in"
base_url = "http://$PRODUCTION:8080/v1"
wire_api = "responses"
env_key = "STAND_IN_KEY"

[analytics]
enabled = false
END
    guard init codex --user --yes >/dev/null
    export STAND_IN_KEY=none
    codex exec --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox 'fetch the file' 2>codex.log
}
