use super::*;

fn has(scene: &Scene, expected: &[&str]) -> Tested {
    let found = scene.look()?;
    let mut lines = lines(&found);
    lines.sort();
    let mut expected: Vec<_> = expected.iter().map(|line| (*line).to_owned()).collect();
    expected.sort();
    assert_eq!(lines, expected, "passed over: {:?}", passed_over(&found));
    Ok(())
}

#[test]
fn settings_of_a_project() -> Tested {
    let text = "\
        # a comment\n\
        export DATABASE_URL=\"postgres://app:word@db.example.net/app\" # the server\n\
        #PRODUCTION_URL=postgres://app:word@db2.example.net/app\n\
        DB_HOST=db3.example.net\nDB_PORT=3307\nDB_CONNECTION=mysql\nDB_PASSWORD=word\n\
        DOCKER_HOST=tcp://engine.example.net:2376\n\
        HCLOUD_TOKEN=0123456789abcdef\n\
        STRIPE_SECRET_KEY=sk_test_0123456789\n\
        TEMPLATE=postgres://app:word@${HOST}/app\n\
        EMPTY=\n=\nnonsense\n";
    let scene = Scene::new()?
        .with("deploy/.env", text)?
        .with("node_modules/a/.env", "A=redis://a.example.net\n")?;
    has(
        &scene,
        &[
            "production db.example.net:5432 postgres, DATABASE_URL deploy/.env:2",
            "production db2.example.net:5432 postgres, PRODUCTION_URL deploy/.env:3 dormant",
            "production db3.example.net:3307 mysql, DB_HOST deploy/.env:4",
            "production engine.example.net:2376 docker, DOCKER_HOST deploy/.env:8",
            "production api.hetzner.cloud:443 platform, HCLOUD_TOKEN deploy/.env:9",
            "dev api.stripe.com:443 platform, STRIPE_SECRET_KEY deploy/.env:10",
        ],
    )
}

#[test]
fn the_environment_itself() -> Tested {
    let mut scene = Scene::new()?;
    let variables = [
        ("PGHOST", "db.example.net"),
        ("PGPASSWORD", "word"),
        ("AWS_PROFILE", "prod"),
    ];
    scene.environment = variables
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
    has(
        &scene,
        &["production db.example.net:5432 postgres, PGHOST the environment"],
    )?;
    let found = scene.look()?;
    let keys: Vec<_> = found
        .keys
        .iter()
        .map(|key| (key.what, key.seen.key.as_str()))
        .collect();
    assert_eq!(keys, [("AWS credentials", "AWS_PROFILE")]);
    Ok(())
}

#[test]
fn the_same_place_is_listed_once_by_its_gravest_clue() -> Tested {
    let scene = Scene::new()?
        .with(".env", "DATABASE_URL=postgres://a:b@db.example.net/app\n")?
        .with(
            ".env.development",
            "OTHER_URL=postgres://a:b@db.example.net/app\n",
        )?;
    has(
        &scene,
        &[
            "production db.example.net:5432 postgres, DATABASE_URL .env:1, OTHER_URL .env.development:1",
        ],
    )
}

const KUBECONFIG: &str = "\
apiVersion: v1
current-context: prod-eu
clusters:
- name: one
  cluster:
    server: https://203.0.113.40:6443
    certificate-authority-data: c2VjcmV0
- cluster: {server: 'https://127.0.0.1:40001'}
  name: two
contexts:
- name: prod-eu
  context: {cluster: one, user: admin, namespace: shop}
- context:
    cluster: two
  name: kind-dev
- name: broken
  context: {cluster: none}
users:
- name: admin
  user: {token: secret}
";

#[test]
fn contexts_of_clusters() -> Tested {
    has(
        &Scene::new()?.with("~/.kube/config", KUBECONFIG)?,
        &[
            "production 203.0.113.40:6443 kubernetes, prod-eu ~/.kube/config:11",
            "local 127.0.0.1:40001 kubernetes, kind-dev ~/.kube/config:13",
        ],
    )
}

#[test]
fn hosts_of_ssh() -> Tested {
    let text = "\
        Host prod-web1\n  HostName web1.example.com\n  User deploy\n\
        Host nas\n  HostName = 192.168.7.5\n\
        Host *.internal !no.internal\n  Port 2200\n\
        Host a.internal no.internal\n\
        Match host prod-web1 exec \"touch /tmp/x\"\n  HostName x.example.com\n\
        Host six\n  HostName 2001:db8::5\n\
        Host in\n  HostName %h.example.com\n\
        Host *\n  Port 2222\n";
    has(
        &Scene::new()?.with("~/.ssh/config", text)?,
        &[
            "production web1.example.com:2222 ssh, prod-web1 ~/.ssh/config:1",
            "maybe 192.168.7.5:2222 ssh, nas ~/.ssh/config:4",
            "maybe a.internal:2200 ssh, a.internal ~/.ssh/config:8",
            "maybe no.internal:2222 ssh, no.internal ~/.ssh/config:8",
            "maybe 2001:db8::5:2222 ssh, six ~/.ssh/config:11",
            "maybe in.example.com:2222 ssh, in ~/.ssh/config:13",
        ],
    )
}

#[test]
fn what_clients_of_databases_keep() -> Tested {
    let pgpass = "# a\ndb1.example.com:5433:billing_production:u:p\\:w\n*:*:*:u:p\n[:nonsense\n2001\\:db8\\:\\:7:5432:a:u:p\n";
    let scene = Scene::new()?
        .with("~/.pgpass", pgpass)?
        .with(
            "~/.pg_service.conf",
            "[prod]\nhost=db2.example.com\nport=5434\ndbname=billing\npassword=p\n",
        )?
        .with(
            "~/.my.cnf",
            "[client]\nuser = a\npassword = \"p\"\nhost = 198.51.100.9\n",
        )?
        .with(
            "~/.aws/credentials",
            "[default]\naws_access_key_id = A\naws_secret_access_key = S\n",
        )?
        .with("~/.railway/config.json", "{}")?;
    has(
        &scene,
        &[
            "production db1.example.com:5433 postgres, billing_production ~/.pgpass:2",
            "maybe 2001:db8::7:5432 postgres, a ~/.pgpass:5",
            "production db2.example.com:5434 postgres, prod ~/.pg_service.conf:1",
            "production 198.51.100.9:3306 mysql, client ~/.my.cnf:1",
            "production backboard.railway.com:443 platform, token ~/.railway/config.json",
        ],
    )?;
    let found = scene.look()?;
    assert_eq!(found.keys[0].seen.key, "default");
    assert_eq!(passed_over(&found), ["~/.pgpass:4: an unreadable line"]);
    Ok(())
}

#[test]
fn a_host_that_has_its_port_elsewhere_may_be_an_ipv6_address() -> Tested {
    let scene = Scene::new()?
        .with("~/.pg_service.conf", "[a]\nhost=2001:db8::7\nport=5433\n")?
        .with("~/.my.cnf", "[client]\nhost = 2001:db8::8\n")?
        .with("~/.ssh/config", "Host b\nHostName 2001:db8::9\n")?;
    let found = scene.look()?;
    let mut places: Vec<_> = found
        .findings
        .iter()
        .map(|one| format!("{} {}", one.host, one.port))
        .collect();
    places.sort();
    assert_eq!(
        places,
        ["2001:db8::7 5433", "2001:db8::8 3306", "2001:db8::9 22"]
    );
    assert_eq!(passed_over(&found), Vec::<String>::new());
    Ok(())
}

#[test]
fn compose_docker_and_mcp() -> Tested {
    let compose = "\
services:
  db: {image: postgres}
  app:
    environment:
      DATABASE_URL: postgres://a:b@db/app
      CACHE_URL: redis://:p@cache.prod.example.com
  other:
    environment:
      - QUEUE_URL=amqp://a:b@queue.example.com
";
    let context = r#"{"Name": "prod-swarm", "Endpoints": {"docker": {"Host": "ssh://me@swarm.example.com"}}}"#;
    let mcp = "{\n\"mcpServers\": {\"supabase\": {\n\"args\": [\"-y\", \"postgres://a:b@db.example.supabase.co/postgres\"],\n\
        \"env\": {\"API_URL\": \"https://api.prod.example.org\"}}}}";
    has(
        &Scene::new()?
            .with("compose.yaml", compose)?
            .with("~/.docker/contexts/meta/0/meta.json", context)?
            .with(".mcp.json", mcp)?,
        &[
            "local db:5432 postgres, DATABASE_URL compose.yaml:5",
            "production cache.prod.example.com:6379 redis, CACHE_URL compose.yaml:6",
            "production queue.example.com:5672 amqp, QUEUE_URL compose.yaml:9",
            "production swarm.example.com:22 docker, prod-swarm ~/.docker/contexts/meta/0/meta.json:1",
            "production db.example.supabase.co:5432 postgres, supabase .mcp.json:3",
            "production api.prod.example.org:443 http, API_URL .mcp.json:4",
        ],
    )
}
