//! Keys wherever they lie: files that variables name, settings of agents, tokens by what they begin with, and what they open.

use std::os::unix::fs::PermissionsExt as _;

use guard_discover::Sighting;

use super::formats::has;
use super::*;

fn with_environment(mut scene: Scene, variables: &[(&str, &str)]) -> Scene {
    let variables = variables.iter();
    let variables = variables.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    scene.environment = variables.collect();
    scene
}

fn keys(found: &Discovery) -> Vec<String> {
    let all = found.keys.iter().map(|key| {
        let line = key
            .seen
            .line
            .map_or_else(String::new, |line| format!(":{line}"));
        let Sighting {
            key: name, file, ..
        } = &key.seen;
        format!("{}: {name} {file}{line}", key.what)
    });
    all.collect()
}

const CONTEXT: &str = "clusters: [{name: a, cluster: {server: 'https://203.0.113.40:6443'}}]\ncontexts:\n- {name: prod, context: {cluster: a}}\n";
const KEY: &str =
    "{\"type\": \"service_account\", \"project_id\": \"shop-live\", \"private_key\": \"word\"}";

/// A file that a variable names, in place of the usual one.
const NAMED: [(&str, &str, &str, &str); 12] = [
    (
        "AWS_CONFIG_FILE",
        "keys/aws",
        "[profile live]\nrole_arn = arn:aws:iam::1:role/x\n",
        "production sts.amazonaws.com:443 platform, live",
    ),
    (
        "AWS_SHARED_CREDENTIALS_FILE",
        "keys/aws",
        "[default]\naws_access_key_id = A\n",
        "production sts.amazonaws.com:443 platform, default",
    ),
    (
        "BOTO_CONFIG",
        "boto.cfg",
        "[Credentials]\ngs_oauth2_refresh_token = word\n",
        "production cloudresourcemanager.googleapis.com:443 platform, Credentials",
    ),
    (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "keys/shop.json",
        KEY,
        "production cloudresourcemanager.googleapis.com:443 platform, key",
    ),
    (
        "KUBECONFIG",
        "clusters/eu",
        CONTEXT,
        "production 203.0.113.40:6443 kubernetes, prod",
    ),
    (
        "NETRC",
        "netrc",
        "machine api.heroku.com login me password word\n",
        "production api.heroku.com:443 platform, machine",
    ),
    (
        "npm_config_userconfig",
        "npm/rc",
        "//npm.example.com/:_authToken=word\n",
        "maybe npm.example.com:443 http, token",
    ),
    (
        "PGPASSFILE",
        "pg/pass",
        "db.example.net:5432:shop_live:u:word\n",
        "production db.example.net:5432 postgres, shop_live",
    ),
    (
        "PGSERVICEFILE",
        "pg/services",
        "[live]\nhost=db.example.net\n",
        "production db.example.net:5432 postgres, live",
    ),
    (
        "TF_CLI_CONFIG_FILE",
        "terraform.rc",
        "credentials \"app.terraform.io\" {\n",
        "production app.terraform.io:443 platform, credentials",
    ),
    (
        "DATABRICKS_CONFIG_FILE",
        "databricks",
        "[DEFAULT]\nhost = https://dbc-1.cloud.databricks.com/\n",
        "production dbc-1.cloud.databricks.com:443 platform, DEFAULT",
    ),
    (
        "OPENCODE_CONFIG",
        "agent.json",
        "{\"mcp\": {\"shop\": {\"environment\": {\"PROD_URL\": \"redis://:word@cache.example.net\"}}}}",
        "production cache.example.net:6379 redis, PROD_URL",
    ),
];

#[test]
fn files_that_variables_name_are_read_wherever_they_are() -> Tested {
    for (variable, file, text, expected) in NAMED {
        let seen = |scene: &Scene, shown: &str| -> Tested {
            let found = scene.look()?;
            let all = lines(&found);
            let is_it = |line: &String| line.starts_with(&format!("{expected} {shown}"));
            assert!(all.iter().any(is_it), "{variable} {shown}: {all:?}");
            assert_eq!(passed_over(&found), Vec::<String>::new(), "{variable}");
            Ok(())
        };
        // Of the home, by the environment and by a shell's file.
        let scene = Scene::new()?.with(&format!("~/{file}"), text)?;
        let path = scene.home.path().join(file).display().to_string();
        seen(
            &with_environment(scene, &[(variable, &path)]),
            &format!("~/{file}"),
        )?;
        let shell = format!("export {variable}=\"$HOME/{file}\"\n");
        let scene = Scene::new()?
            .with(&format!("~/{file}"), text)?
            .with("~/.zshrc", shell)?;
        seen(&scene, &format!("~/{file}"))?;
        // Of the project, by a name beside its settings.
        let scene = Scene::new()?
            .with(&format!("app/{file}"), text)?
            .with("app/.env", format!("{variable}=./{file}\n"))?;
        seen(&scene, &format!("app/{file}"))?;
        // Elsewhere, where the person's own variables say so.
        let elsewhere = tempfile::tempdir()?;
        let path = elsewhere.path().join("key");
        fs::write(&path, text)?;
        let path = path.display().to_string();
        seen(
            &with_environment(Scene::new()?, &[(variable, &path)]),
            &path,
        )?;
        // A project says nothing of the rest of a machine.
        let planted = Scene::new()?.with(".env", format!("{variable}={path}\n"))?;
        let found = planted.look()?;
        assert_eq!(lines(&found), Vec::<String>::new(), "{variable}");
        let variable = variable.to_ascii_uppercase();
        let expected = format!("a file outside of the home and the project: {variable} .env:1");
        assert_eq!(keys(&found), [expected]);
    }
    Ok(())
}

#[test]
fn several_files_and_whole_directories_may_be_named() -> Tested {
    let scene = Scene::new()?
        .with("~/clusters/a", CONTEXT)?
        .with("~/clusters/b", CONTEXT.replace("203.0.113.40", "203.0.113.41"))?
        .with("~/cloud/configurations/config_live", "[core]\naccount = me@example.com\nproject = shop-live\n")?
        .with("~/engines/contexts/meta/0/meta.json", "{\"Name\": \"prod\", \"Endpoints\": {\"docker\": {\"Host\": \"ssh://me@swarm.example.com\"}}}")?
        .with("~/cfg/gh/hosts.yml", "git.example.com:\n    oauth_token: word\n")?
        .with("~/az/azureProfile.json", "{\"subscriptions\": [{\"name\": \"live\", \"isDefault\": true}]}")?;
    let at = |name: &str| scene.home.path().join(name).display().to_string();
    let all = [
        (
            "KUBECONFIG",
            format!("{}:{}:/nonexistent", at("clusters/a"), at("clusters/b")),
        ),
        ("CLOUDSDK_CONFIG", at("cloud")),
        ("DOCKER_CONFIG", at("engines")),
        ("XDG_CONFIG_HOME", at("cfg")),
        ("AZURE_CONFIG_DIR", at("az")),
    ];
    let all: Vec<_> = all
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let scene = with_environment(scene, &all);
    has(
        &scene,
        &[
            "production 203.0.113.40:6443 kubernetes, prod ~/clusters/a:3",
            "production 203.0.113.41:6443 kubernetes, prod ~/clusters/b:3",
            "production cloudresourcemanager.googleapis.com:443 platform, project ~/cloud/configurations/config_live:1",
            "production swarm.example.com:22 docker, prod ~/engines/contexts/meta/0/meta.json:1",
            "production git.example.com:443 platform, gh ~/cfg/gh/hosts.yml:2",
            "production management.azure.com:443 platform, live ~/az/azureProfile.json:1",
        ],
    )
}

#[test]
fn what_a_variable_names_is_read_once_and_leads_nowhere_else() -> Tested {
    let scene = Scene::new()?
        .with("~/.pgpass", "db.example.net:5432:shop_live:u:word\n")?
        .with("kubeconfig", CONTEXT)?
        .with(".env", "KUBECONFIG=kubeconfig:../../x:kubeconfig\nPGPASSFILE=~/.pgpass\nBOTO_CONFIG=${X}/boto\n#NETRC=~/n\n")?
        .with("~/n", "machine api.heroku.com login me password word\n")?;
    let scene = scene
        .with(
            "~/.kube/config.d/live",
            CONTEXT.replace("203.0.113.40", "203.0.113.41"),
        )?
        .with(
            "~/.config/gcloud/configurations/config_live",
            "[core]\naccount = me@example.com\n",
        )?;
    let [pgpass, live, config] = [".pgpass", ".kube/config.d/live", ".config"]
        .map(|file| scene.home.path().join(file).display().to_string());
    let variables = [
        ("PGPASSFILE", &*pgpass),
        ("KUBECONFIG", &live),
        ("XDG_CONFIG_HOME", &config),
    ];
    let scene = with_environment(scene, &variables);
    has(
        &scene,
        &[
            "production 203.0.113.41:6443 kubernetes, prod ~/.kube/config.d/live:3",
            "production cloudresourcemanager.googleapis.com:443 platform, project ~/.config/gcloud/configurations/config_live:1",
            "production 203.0.113.40:6443 kubernetes, prod kubeconfig:3",
            "production db.example.net:5432 postgres, shop_live ~/.pgpass:1",
        ],
    )?;
    // A project's link is none of its files, no matter who names it.
    let scene = Scene::new()?
        .with("~/secret", CONTEXT)?
        .with(".env", "KUBECONFIG=link\n")?;
    std::os::unix::fs::symlink(
        scene.home.path().join("secret"),
        scene.project.path().join("link"),
    )?;
    let found = scene.look()?;
    assert_eq!(lines(&found), Vec::<String>::new());
    let expected = ["link: a link to elsewhere", "link: a link"];
    assert_eq!(passed_over(&found), expected);
    Ok(())
}

/// An agent's settings with a variable that names a file.
fn naming(path: &Path) -> String {
    let path = path.display();
    format!("{{\"mcp\": {{\"a\": {{\"environment\": {{\"PGPASSFILE\": \"{path}\"}}}}}}}}")
}

#[test]
fn what_a_project_names_by_the_homes_name_is_the_projects_wherever_it_lies() -> Tested {
    let elsewhere = tempfile::tempdir()?;
    let key = elsewhere.path().join("pgp");
    fs::write(&key, "db.example.org:5432:shop_live:u:word\n")?;
    let planted =
        "PGPASSFILE=~/evil/pgp\nOPENCODE_CONFIG=$HOME/evil/oc.json\nNETRC=${HOME}/other/rc\n";
    let scene = Scene::new()?
        .with("~/evil/.env", planted)?
        .with("~/evil/more.env", "OPENCODE_CONFIG=~/other/oc.json\n")?
        .with("~/evil/pgp", "db.example.net:5432:bank_live:u:word\n")?
        .with("~/evil/oc.json", naming(&key))?
        .with(
            "~/other/rc",
            "machine api.heroku.com login a password word\n",
        )?
        .with("~/other/oc.json", naming(&key))?;
    let project = scene.home.path().join("evil");
    let found = scene.look_at(&project, WITHOUT_END)?;
    let all = lines(&found);
    assert_eq!(
        all,
        [
            "production db.example.net:5432 postgres, bank_live pgp:1",
            "production api.heroku.com:443 platform, machine ~/other/rc:1",
        ]
    );
    let mut seen = found.findings.iter().flat_map(|one| &one.found);
    assert!(seen.all(|seen| seen.is_projects), "{:?}", found.findings);
    let mut keys = keys(&found);
    keys.sort();
    assert_eq!(
        keys,
        [
            "a file outside of the home and the project: PGPASSFILE oc.json:1",
            "a file outside of the home and the project: PGPASSFILE ~/other/oc.json:1",
        ]
    );
    // The person's own word, by the same way, leads there.
    let scene = scene.with("~/.zshrc", "export OPENCODE_CONFIG=~/other/oc.json\n")?;
    let found = scene.look_at(&project, WITHOUT_END)?;
    let is_it = |one: &&Finding| one.host.as_str() == "db.example.org";
    let own = found.findings.iter().find(is_it);
    let own = own.ok_or("it was not opened")?;
    assert!(own.found.iter().all(|seen| !seen.is_projects), "{own:?}");
    Ok(())
}

#[test]
fn what_a_user_may_not_read_elsewhere_is_in_no_reach() -> Tested {
    let elsewhere = tempfile::tempdir()?;
    let file = elsewhere.path().join("rc");
    fs::write(&file, "credentials \"app.terraform.io\" {\n")?;
    let path = file.display().to_string();
    let scene = with_environment(Scene::new()?, &[("TF_CLI_CONFIG_FILE", &path)]);
    assert_eq!(scene.look()?.findings.len(), 1);
    for (path, mode) in [
        (&*file, 0o000),
        (scene.project.path(), 0o755),
        (scene.home.path(), 0o755),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    let found = as_nobody(&scene)?;
    assert_eq!(lines(&found), Vec::<String>::new());
    assert_eq!(passed_over(&found), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_clouds_key_is_found_by_each_variable_that_may_have_it() -> Tested {
    let google = "cloudresourcemanager.googleapis.com";
    for (line, expected) in [
        (
            "AWS_ACCESS_KEY_ID=AKIA0123456789ABCDEF",
            "production sts.amazonaws.com",
        ),
        (
            "PROD_AWS_ACCESS_KEY_ID=AKIA0123456789ABCDEF",
            "production sts.amazonaws.com",
        ),
        ("AWS_ACCESS_KEY_ID=test", "dev sts.amazonaws.com"),
        (
            "AWS_ROLE_ARN=arn:aws:iam::1:role/deploy",
            "production sts.amazonaws.com",
        ),
        ("AWS_DEFAULT_PROFILE=sandbox", "dev sts.amazonaws.com"),
        (
            "ARM_CLIENT_SECRET=0123456789",
            "production management.azure.com",
        ),
        (
            "FIREBASE_TOKEN=1//0123456789",
            &*format!("production {google}"),
        ),
        (
            "GCP_KEY='{\"type\": \"service_account\", \"private_key\": \"word\"}'",
            &format!("production {google}"),
        ),
        ("PAYMENTS=sk_live_0123456789", "production api.stripe.com"),
        (
            "BILLING_KEY=rk_live_0123456789",
            "production api.stripe.com",
        ),
        ("PAYMENTS=sk_test_0123456789", "dev api.stripe.com"),
        (
            "SPACES=dop_v1_0123456789",
            "production api.digitalocean.com",
        ),
    ] {
        let scene = Scene::new()?.with(".env", format!("{line}\n"))?;
        let found = lines(&scene.look()?);
        let is_it = found.len() == 1 && found[0].starts_with(&format!("{expected}:443 platform"));
        assert!(is_it, "{line}: {found:?}");
        let (key, value) = line.split_once('=').ok_or("no variable")?;
        let scene = with_environment(Scene::new()?, &[(key, value.trim_matches('\''))]);
        let found = lines(&scene.look()?);
        assert!(found[0].starts_with(expected), "{line}: {found:?}");
    }
    for line in [
        "PAYMENTS=sk_live_xxxxxxxx",
        "PAYMENTS=sk_live_...",
        "A=sk_live_<yours>",
        "A=pk_live_0123456789",
    ] {
        let found = Scene::new()?.with(".env", format!("{line}\n"))?.look()?;
        assert_eq!(lines(&found), Vec::<String>::new(), "{line}");
    }
    Ok(())
}

#[test]
fn tokens_of_forges_are_shown_without_a_rule() -> Tested {
    let settings = "GITHUB_TOKEN=0123456789\nOTHER=ghp_0123456789\nGITLAB_TOKEN=glpat-0123456789\nGH_TOKEN=${X}\n";
    let scene = Scene::new()?
        .with(".env", settings)?
        .with(".env.example", "GITHUB_TOKEN=0123456789\n")?
        .with(".git/config", "[remote \"origin\"]\nurl = git@github.com:a/b.git\n[remote \"https\"]\nurl = https://me:word@github.com/a/b\n")?
        .with("~/.config/gh/hosts.yml", "github.com:\n    user: me\n")?
        .with("~/.config/glab-cli/config.yml", "hosts:\n    gitlab.com:\n        token: word\n")?
        .with("~/.git-credentials", "https://me:word@github.com\nhttps://me:word@git.example.com\n")?
        .with("~/.netrc", "machine github.com login me password word\n")?
        .with("~/.ssh/config", "Host github.com\nUser git\n")?;
    let scene = with_environment(scene, &[("GH_TOKEN", "ghs_0123456789")]);
    let found = scene.look()?;
    let places: Vec<_> = lines(&found)
        .into_iter()
        .filter(|line| !line.starts_with("tool ") && !line.starts_with("template "))
        .collect();
    assert_eq!(
        places,
        ["maybe git.example.com:443 git, credential ~/.git-credentials:2"]
    );
    assert!(
        found
            .findings
            .iter()
            .all(|one| one.label != Label::Tool || one.proposed.is_none())
    );
    let what = "token of a forge (no rule: each push and pull request would ask)";
    let mut keys = keys(&found);
    keys.sort();
    let expected = [
        "GH_TOKEN the environment",
        "GITHUB_TOKEN .env:1",
        "GITLAB_TOKEN .env:3",
        "OTHER .env:2",
        "credential ~/.git-credentials:1",
        "gh ~/.config/gh/hosts.yml:2",
        "glab ~/.config/glab-cli/config.yml:3",
        "https .git/config:3",
        "machine ~/.netrc:1",
    ];
    assert_eq!(keys, expected.map(|one| format!("{what}: {one}")));
    // That of a GitLab of one's own is for its place.
    let own = Scene::new()?.with(
        ".env",
        "GITLAB_HOST=gitlab.example.com\nGITLAB_TOKEN=0123456789\n",
    )?;
    has(
        &own,
        &["production gitlab.example.com:443 platform, GITLAB_HOST .env:1"],
    )?;
    assert!(own.look()?.keys.is_empty());
    Ok(())
}

/// Settings of agents, each with a server that is started with a database's address, and one elsewhere.
const AGENTS: [(&str, &str); 8] = [
    (
        "~/.codex/config.toml",
        "model = \"x\"\n[mcp_servers.shop]\ncommand = \"npx\"\nargs = [\n  \"-y\",\n  \"postgres://a:word@db.example.net/shop\",\n]\nenv = { \"TOKEN\" = \"a\\\"b\", REDIS_URL = \"redis://:word@cache.example.net\" }\n[mcp_servers.far]\nurl = \"https://mcp.example.net/mcp\"\nbearer_token_env_var = \"X\"\n",
    ),
    (
        ".codex/config.toml",
        "[mcp_servers.shop]\nargs = ['postgres://a:word@db.example.net/shop']\n# url = \"https://no.example.net\"\n[mcp_servers.shop.env]\nREDIS_URL = \"redis://:word@cache.example.net\"\n[mcp_servers.far]\nurl = 'https://mcp.example.net/mcp'\n[mcp_servers.far.http_headers]\nAuthorization = \"Bearer word\"\n",
    ),
    (
        "~/.config/opencode/opencode.json",
        "{\"mcp\": {\"shop\": {\"type\": \"local\", \"command\": [\"x\", \"postgres://a:word@db.example.net/shop\"], \"environment\": {\"REDIS_URL\": \"redis://:word@cache.example.net\"}}, \"far\": {\"type\": \"remote\", \"url\": \"https://mcp.example.net/mcp\", \"headers\": {\"Authorization\": \"Bearer {env:X}\"}}}}",
    ),
    (
        "~/.gemini/settings.json",
        "{\"mcpServers\": {\"shop\": {\"args\": [\"postgres://a:word@db.example.net/shop\"], \"env\": {\"REDIS_URL\": \"redis://:word@cache.example.net\"}}, \"far\": {\"httpUrl\": \"https://mcp.example.net/mcp\", \"headers\": {\"X-Api-Key\": \"word\"}}}}",
    ),
    (
        ".gemini/settings.json",
        "{\"mcpServers\": {\"shop\": {\"args\": [\"postgres://a:word@db.example.net/shop\"], \"env\": {\"REDIS_URL\": \"redis://:word@cache.example.net\"}}, \"far\": {\"url\": \"https://mcp.example.net/mcp\", \"headers\": {\"X-Api-Key\": \"word\"}}}}",
    ),
    (
        "~/.claude.json",
        "{\"projects\": {\"/a\": {\"mcpServers\": {\"shop\": {\"args\": [\"postgres://a:word@db.example.net/shop\"], \"env\": {\"REDIS_URL\": \"redis://:word@cache.example.net\"}}, \"far\": {\"type\": \"http\", \"url\": \"https://mcp.example.net/mcp\", \"headers\": {\"Authorization\": \"word\"}}}}}}",
    ),
    (
        ".vscode/mcp.json",
        "{\"inputs\": [], \"servers\": {\"shop\": {\"args\": [\"postgres://a:word@db.example.net/shop\"], \"env\": {\"REDIS_URL\": \"redis://:word@cache.example.net\"}}, \"far\": {\"url\": \"https://mcp.example.net/mcp\", \"requestInit\": {\"headers\": {\"Authorization\": \"word\"}}}}}",
    ),
    (
        "~/.config/Code/User/settings.json",
        "{// so\n\"mcp\": {\"servers\": {\"shop\": {\"args\": [\"postgres://a:word@db.example.net/shop\"], \"env\": {\"REDIS_URL\": \"redis://:word@cache.example.net\"}}, \"far\": {\"url\": \"https://mcp.example.net/mcp\", \"headers\": {\"Authorization\": \"${input:t}\"}}}}}",
    ),
];

#[test]
fn servers_of_agents_are_found_with_what_opens_them() -> Tested {
    for (file, text) in AGENTS {
        let found = Scene::new()?.with(file, text)?.look()?;
        assert_eq!(passed_over(&found), Vec::<String>::new(), "{file}");
        let mut all: Vec<_> = found
            .findings
            .iter()
            .map(|one| {
                let credential = one.credential.unwrap_or("-");
                // What an editor's settings have is read as theirs, too.
                let key = one.found[0].key.rsplit('.').next().unwrap_or_default();
                format!("{} {} {credential} {}", one.label.as_str(), one.host, key)
            })
            .collect();
        all.sort();
        let expected = [
            "maybe mcp.example.net token far",
            "production cache.example.net password REDIS_URL",
            "production db.example.net password shop",
        ];
        assert_eq!(all, expected, "{file}");
    }
    // What it keeps beside them may be long.
    let long = format!(
        "{{\"history\": \"{}\", \"mcpServers\": {{\"a\": {{\"url\": \"https://mcp.example.net\"}}}}}}",
        "x".repeat(1 << 20)
    );
    let found = Scene::new()?.with("~/.claude.json", long)?.look()?;
    assert_eq!(found.findings.len(), 1, "{:?}", passed_over(&found));
    // What an agent gives to all that it runs.
    for (file, text) in [
        (
            ".claude/settings.local.json",
            "{\"env\": {\"DATABASE_URL\": \"postgres://a:word@db.example.net/a\"}}",
        ),
        (
            ".codex/config.toml",
            "[shell_environment_policy]\nset = { DATABASE_URL = \"postgres://a:word@db.example.net/a\" }\n",
        ),
        (
            "~/.codex/config.toml",
            "[shell_environment_policy.set]\nDATABASE_URL = \"postgres://a:word@db.example.net/a\"\n",
        ),
    ] {
        let found = lines(&Scene::new()?.with(file, text)?.look()?);
        let begin = "production db.example.net:5432 postgres, DATABASE_URL";
        assert!(
            found.len() == 1 && found[0].starts_with(begin),
            "{file}: {found:?}"
        );
    }
    Ok(())
}

#[test]
fn what_ssh_leads_through_is_found() -> Tested {
    let config = "\
Host shop
  HostName shop.example.net
  LocalForward 5433 db.internal.example.net:5432
  LocalForward 127.0.0.1:6380 localhost:6379
  LocalForward /tmp/a.sock /run/b.sock
  ProxyJump me@jump.example.net:2222,bastion
Host bastion
  HostName bastion.example.net
Host *.internal
  ProxyJump gate.example.net
Host *
  ProxyJump none
  LocalForward 9000
Match all
  LocalForward [::1]:3307 [2001:db8::7]:3306
";
    has(
        &Scene::new()?.with("~/.ssh/config", config)?,
        &[
            "maybe shop.example.net:22 ssh, shop ~/.ssh/config:1",
            "maybe db.internal.example.net:5432 postgres, shop ~/.ssh/config:3",
            "maybe shop.example.net:6379 redis, shop ~/.ssh/config:4",
            "maybe jump.example.net:2222 ssh, shop ~/.ssh/config:6",
            "maybe bastion.example.net:22 ssh, shop ~/.ssh/config:6, bastion ~/.ssh/config:7",
            "maybe gate.example.net:22 ssh, jump ~/.ssh/config:10",
            "maybe 2001:db8::7:3306 mysql, forward ~/.ssh/config:15",
        ],
    )
}

#[test]
fn mail_is_found_where_somebody_sends_it() -> Tested {
    let place = "production smtp.example.net:587 smtp";
    for text in [
        "SMTP_HOST=smtp.example.net\nSMTP_USER=a\nSMTP_PASSWORD=word\n",
        "SMTP_SERVER=smtp.example.net\nSMTP_PASS=word\n",
        "MAIL_HOST=smtp.example.net\nMAIL_USERNAME=a\nMAIL_PASSWORD=word\n",
        "EMAIL_HOST=smtp.example.net\nEMAIL_HOST_USER=a\nEMAIL_HOST_PASSWORD=word\n",
        "MAILER_DSN=smtp://a:word@smtp.example.net\n",
        "EMAIL_SERVER=smtp://a:word@smtp.example.net\n",
    ] {
        let found = lines(&Scene::new()?.with(".env", text)?.look()?);
        assert!(
            found.len() == 1 && found[0].starts_with(place),
            "{text}: {found:?}"
        );
    }
    for (file, text) in [
        (
            "application.properties",
            "spring.mail.host=smtp.example.net\nspring.mail.password=word\n",
        ),
        (
            "shop/settings.py",
            "EMAIL_HOST = 'smtp.example.net'\nEMAIL_HOST_PASSWORD = 'word'\n",
        ),
        (
            "config/config.json",
            "{\"smtp\": {\"host\": \"smtp.example.net\", \"port\": 587, \"password\": \"word\"}}",
        ),
    ] {
        let found = lines(&Scene::new()?.with(file, text)?.look()?);
        assert!(
            found.iter().any(|line| line.starts_with(place)),
            "{file}: {found:?}"
        );
    }
    // What takes mail of anybody is a developer's.
    for text in [
        "MAIL_HOST=mailpit\nMAIL_PASSWORD=null\n",
        "SMTP_HOST=smtp.example.net\n",
        "MAILER_DSN=smtp://mailpit:1025\n",
        "EMAIL_ADDRESS=me@example.net\nEMAIL_PASSWORD=word\n",
    ] {
        let found = Scene::new()?.with(".env", text)?.look()?;
        assert_eq!(lines(&found), Vec::<String>::new(), "{text}");
        assert_eq!(passed_over(&found), Vec::<String>::new(), "{text}");
    }
    Ok(())
}

#[test]
fn brokers_of_kafka_are_found_with_what_opens_them() -> Tested {
    let text = "KAFKA_BROKERS=b1.example.net:9093, b2.example.net\nKAFKA_SASL_PASSWORD=word\n";
    has(
        &Scene::new()?.with(".env", text)?,
        &[
            "production b1.example.net:9093 kafka, KAFKA_BROKERS .env:1",
            "production b2.example.net:9092 kafka, KAFKA_BROKERS .env:1",
        ],
    )?;
    for (file, text) in [
        (
            "application.properties",
            "spring.kafka.bootstrap-servers=b1.example.net:9092\nspring.kafka.properties.sasl.jaas.config=x password=\"word\";\n",
        ),
        (
            "kafka.properties",
            "bootstrap.servers=SASL_SSL://b1.example.net:9092\nsasl.jaas.config=org.x required password=\"word\";\n",
        ),
        (
            "application.yml",
            "spring:\n  kafka:\n    bootstrap-servers: b1.example.net:9092\n    properties: {sasl.jaas.config: word}\n",
        ),
        (
            ".env",
            "KAFKA_URL=kafka+ssl://b1.example.net:9092\nKAFKA_CLIENT_CERT_KEY=a\nKAFKA_PASSWORD=word\n",
        ),
    ] {
        let found = lines(&Scene::new()?.with(file, text)?.look()?);
        let place = "production b1.example.net:9092 kafka";
        assert!(
            found.iter().any(|line| line.starts_with(place)),
            "{file}: {found:?}"
        );
    }
    let compose =
        "services:\n  kafka: {image: kafka}\n  app: {environment: {KAFKA_BROKERS: 'kafka:9092'}}\n";
    has(
        &Scene::new()?.with("compose.yaml", compose)?,
        &["local kafka:9092 kafka, KAFKA_BROKERS compose.yaml:3"],
    )
}
