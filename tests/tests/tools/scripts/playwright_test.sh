client() {
    for dir in "$TREE/usr" /usr; do
        browser=$dir/lib/chromium/chromium
        if [ -x "$browser" ]; then break; fi
    done
    export BROWSER=$browser NODE_PATH=$NPM/node_modules CI=1
    cat >playwright.config.js <<'END'
module.exports = { workers: 2, use: { launchOptions: { executablePath: process.env.BROWSER } } };
END
    cat >button.spec.js <<'END'
const http = require("http");
const { expect, test } = require("@playwright/test");
const page = '<button onclick="this.textContent = \'pressed\'">press</button>';
const server = http.createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(page));
test.beforeAll(() => new Promise((ready) => server.listen(0, "127.0.0.1", ready)));
test.afterAll(() => server.close());
for (const name of ["once", "again"]) {
    test(name, async ({ page }) => {
        await page.goto(`http://127.0.0.1:${server.address().port}/`);
        await page.click("button");
        await expect(page.locator("button")).toHaveText("pressed");
    });
}
END
    cp button.spec.js other.spec.js
    playwright test --reporter=line >log 2>&1 || { cat log >&2; false; }
    grep -o '[0-9]* passed' log
}
