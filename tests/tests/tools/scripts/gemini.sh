server() { exec python3 "$PROGRAMS/model.py"; }
client() {
    mkdir .gemini
    echo '{"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": false}}' >.gemini/settings.json
    guard init gemini --user --yes >/dev/null
    export GEMINI_API_KEY=none GOOGLE_GEMINI_BASE_URL=http://$PRODUCTION:8080 GEMINI_CLI_TRUST_WORKSPACE=true
    gemini --yolo --model gemini-2.5-flash --prompt 'fetch the file' 2>gemini.log
}
