client() {
    for dir in "$TREE/usr" /usr; do
        browser=$dir/lib/chromium/chromium
        if [ -x "$browser" ]; then break; fi
    done
    export BROWSER=$browser NODE_PATH=$NPM/node_modules
    cat >run.js <<'END'
const http = require("http");
const { chromium } = require("playwright-core");
const page = '<button onclick="this.textContent = \'pressed\'">press</button>';
const server = http.createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(page));
server.listen(0, "127.0.0.1", async () => {
    const browser = await chromium.launch({ executablePath: process.env.BROWSER });
    const tab = await browser.newPage();
    await tab.goto(`http://127.0.0.1:${server.address().port}/`);
    await tab.click("button");
    console.log(await tab.textContent("button"));
    await browser.close();
    server.close();
});
END
    node run.js
}
