server() { exec python3 "$PROGRAMS/model.py"; }
client() {
    guard init claude-code --user --yes >/dev/null
    export ANTHROPIC_BASE_URL=http://$PRODUCTION:8080 ANTHROPIC_API_KEY=none
    export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 ENABLE_TOOL_SEARCH=false
    claude --print --allowedTools Bash -- 'fetch the file'
}
