use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// Each secret place of each format, with `@@` where the secret is.
const PLACES: &[(&str, &str)] = &[
    (
        ".env",
        "DATABASE_URL=postgres://app:@@@db.example.net/app\n",
    ),
    (
        ".env",
        "DATABASE_URL=postgres://db.example.net/app?password=@@\n",
    ),
    (
        ".env",
        "DATABASE_URL=\"Server=db.example.net;Database=a;User Id=u;Password=@@\"\n",
    ),
    (
        ".env",
        "DATABASE_URL='host=db.example.net dbname=a password=@@'\n",
    ),
    (
        ".env",
        "A=jdbc:sqlserver://db.example.net;databaseName=a;password=@@\n",
    ),
    (".env", "HOOK=https://hooks.example.net/services/@@\n"),
    (".env", "HOOK=https://hooks.example.net/?key=@@#@@\n"),
    (
        ".env",
        "STRIPE_SECRET_KEY=sk_live_@@\nHCLOUD_TOKEN=@@\nDB_HOST=db.example.net\nDB_PASSWORD=@@\n",
    ),
    (".env", "# OLD=redis://:@@@cache.example.net\n"),
    (".envrc", "export A=mysql://app:@@@db.example.net/a\n"),
    (
        "~/.bashrc",
        "export AWS_SECRET_ACCESS_KEY=@@ AWS_ACCESS_KEY_ID=@@\n",
    ),
    ("~/.pgpass", "db.example.net:5432:app:app:@@\n"),
    (
        "~/.pg_service.conf",
        "[a]\nhost=db.example.net\npassword=@@\n",
    ),
    ("~/.my.cnf", "[client]\npassword=@@\nhost=db.example.net\n"),
    (
        "~/.aws/credentials",
        "[default]\naws_access_key_id = @@\naws_secret_access_key = @@\n",
    ),
    (
        "~/.kube/config",
        "clusters: [{name: a, cluster: {server: 'https://u:@@@k.example.net'}}]\ncontexts: [{name: a, context: {cluster: a, \
         user: b}}]\nusers: [{name: b, user: {token: '@@', password: \"@@\"}}]\n",
    ),
    ("~/.railway/config.json", "{\"token\": \"@@\"}"),
    (
        "~/.ssh/config",
        "Host a\n HostName a.example.net\n SetEnv TOKEN=@@\n ProxyCommand nc @@\n",
    ),
    (
        "compose.yaml",
        "services: {a: {environment: {A: 'postgres://a:@@@db.example.net', B: '@@'}}}\n",
    ),
    (
        "compose.yaml",
        "services: {a: {environment: [\"A=postgres://a:@@@db.example.net\", \"B=@@\"]}}\n",
    ),
    (
        ".mcp.json",
        "{\"mcpServers\": {\"a\": {\"args\": [\"postgres://a:@@@db.example.net\", \"--key=@@\"], \"env\": {\"K\": \"@@\"}}}}",
    ),
    (
        "~/.docker/contexts/meta/a/meta.json",
        "{\"Name\": \"a\", \"Endpoints\": {\"docker\": {\"Host\": \"ssh://u:@@@engine.example.net\"}}}",
    ),
    (
        "main.tf",
        "provider \"postgresql\" {\n  host = \"db.example.net\"\n  password = \"@@\"\n}\nvariable \"a\" {\n  default = \"@@\"\n}\n",
    ),
    (
        "a.tfvars",
        "db_password = \"@@\"\ndb_url = \"postgres://a:@@@db.example.net/a\"\ntext = <<EOT\n@@\nEOT\n",
    ),
    (
        "terraform.tfstate",
        "{\"resources\": [{\"type\": \"aws_db_instance\", \"name\": \"a\", \"instances\": [{\"attributes\": {\"address\": \
         \"db.example.net\", \"password\": \"@@\", \"engine\": \"postgres\"}}]}], \"outputs\": {\"a\": {\"value\": \"@@\"}}}",
    ),
    (
        "schema.prisma",
        "datasource db {\n  url = \"postgres://a:@@@db.example.net/a\"\n}\n",
    ),
    (
        ".git/config",
        "[remote \"a\"]\n\turl = https://u:@@@git.example.net/a\n[http]\n\textraHeader = \"Authorization: @@\"\n",
    ),
    (
        ".github/workflows/a.yml",
        "env: {TOKEN: '@@', A: 'postgres://a:@@@db.example.net'}\njobs: {a: {steps: [{run: 'PGPASSWORD=@@ psql -h db.example.net'}]}}\n",
    ),
    (
        ".gitlab-ci.yml",
        "variables: {TOKEN: '@@'}\na: {script: ['curl -H \"Authorization: @@\" https://u:@@@api.example.net/?k=@@']}\n",
    ),
    (
        "config/database.yml",
        "production:\n  host: db.example.net\n  password: @@\n  url: postgres://a:@@@db.example.net/a\n",
    ),
    (
        "application.yml",
        "spring: {datasource: {url: 'jdbc:postgresql://db.example.net/a?password=@@', password: '@@'}}\n",
    ),
    (
        "application.properties",
        "spring.datasource.url=jdbc:postgresql://db.example.net/a\nspring.datasource.password=@@\n",
    ),
    (
        "appsettings.json",
        "{\"ConnectionStrings\": {\"A\": \"Server=db.example.net;Database=a;Password=@@\"}, \"Key\": \"@@\"}",
    ),
    (
        ".npmrc",
        "//npm.example.net/:_authToken=@@\nregistry=https://u:@@@npm.example.net/\n",
    ),
    (
        ".netrc",
        "machine h.example.net login @@ password @@\ndefault login @@ password @@\n",
    ),
    ("~/.netrc", "machine h.example.net\n  password @@\n"),
    (
        "~/.config/gcloud/configurations/config_a",
        "[core]\naccount = @@\nproject = a\n[auth]\naccess_token_file = @@\n",
    ),
    (
        "~/.azure/azureProfile.json",
        "{\"subscriptions\": [{\"name\": \"a\", \"isDefault\": true, \"user\": {\"name\": \"@@\"}}], \"secret\": \"@@\"}",
    ),
];

fn made<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> Tested<S::Value> {
    let tree = strategy.new_tree(runner).map_err(|why| why.to_string())?;
    Ok(tree.current())
}

#[test]
fn no_secret_is_in_what_is_found() -> Tested {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    // What no host, key or word of guard's has by chance, with all that breaks parsers before and behind.
    let secret = ("[ -!#-~]{0,6}", "[a-z0-9]{20}", "[ -!#-~]{0,6}");
    for _ in 0..1_000 / PLACES.len() + 1 {
        for (path, text) in PLACES {
            let (before, core, behind) = made(&secret, &mut runner)?;
            let scene =
                Scene::new()?.with(path, text.replace("@@", &format!("{before}{core}{behind}")))?;
            let found = scene.look()?;
            let told = format!("{found:?}");
            assert!(!told.contains(&core), "{path}: {text}: {told}");
        }
    }
    Ok(())
}

#[test]
fn each_of_a_thousand_plain_secrets_is_left_out_of_all_formats() -> Tested {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::default()
    });
    for _ in 0..1_000 / 20 {
        let mut cores = Vec::new();
        let mut scene = Scene::new()?;
        for (at, (path, text)) in PLACES
            .iter()
            .enumerate()
            .filter(|(_, (path, _))| !path.starts_with("~/"))
        {
            let core = made(&"[A-Za-z0-9]{24}", &mut runner)?;
            scene = scene.with(&format!("{at}/{path}"), text.replace("@@", &core))?;
            cores.push(core);
        }
        let found = scene.look()?;
        assert!(
            found
                .findings
                .iter()
                .any(|one| one.label == Label::Production)
        );
        let told = format!("{found:?}");
        assert!(
            cores
                .iter()
                .all(|core| !told.contains(core) && !told.contains(&core.to_lowercase())),
            "{told}"
        );
    }
    Ok(())
}
