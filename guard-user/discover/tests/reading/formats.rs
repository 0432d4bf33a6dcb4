use super::*;

pub(super) fn has(scene: &Scene, expected: &[&str]) -> Tested {
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

/// Node's dotenv takes a colon for an equals sign, and ends a line at a carriage return alone.
#[test]
fn settings_as_dotenv_alone_reads_them() -> Tested {
    let text = "\
        DATABASE_URL: postgres://app:word@db.example.net/app?sslmode=require\n\
        export CACHE_URL: 'redis://:word@cache.example.net'\n\
        A=1\rQUEUE_URL=amqp://app:word@queue.example.net\r\n\
        # Example: postgres://app:word@db2.example.net/app\n\
        B:postgres://app:word@db3.example.net/app\n\
        C=x: redis://:word@db4.example.net\n";
    let shell = "export D: redis://:word@cache2.example.net\n";
    let scene = Scene::new()?.with(".env", text)?.with("~/.bashrc", shell)?;
    has(
        &scene,
        &[
            "production db.example.net:5432 postgres, DATABASE_URL .env:1",
            "production cache.example.net:6379 redis, CACHE_URL .env:2",
            "production queue.example.net:5672 amqp, QUEUE_URL .env:3",
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
        &[
            "production db.example.net:5432 postgres, PGHOST the environment",
            "production sts.amazonaws.com:443 platform, AWS_PROFILE the environment",
        ],
    )
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
        .with("~/.railway/config.json", "{\"user\": {\"token\": \"p\"}}")?
        // Nobody is logged in.
        .with("~/.config/hcloud/cli.toml", "active_context = \"\"\n")?
        .with(
            "~/.config/doctl/config.yaml",
            "access-token: \"\"\nauth-contexts: {}\ncontext: default\n",
        )?
        .with(
            "~/.config/netlify/config.json",
            "{\"telemetryDisabled\": false, \"cliId\": \"0b5a\"}",
        )?;
    has(
        &scene,
        &[
            "production db1.example.com:5433 postgres, billing_production ~/.pgpass:2",
            "maybe 2001:db8::7:5432 postgres, a ~/.pgpass:5",
            "production db2.example.com:5434 postgres, prod ~/.pg_service.conf:1",
            "production 198.51.100.9:3306 mysql, client ~/.my.cnf:1",
            "production backboard.railway.com:443 platform, token ~/.railway/config.json",
            "production sts.amazonaws.com:443 platform, default ~/.aws/credentials:1",
        ],
    )?;
    let found = scene.look()?;
    assert_eq!(passed_over(&found), ["~/.pgpass:4: an unreadable line"]);
    Ok(())
}

#[test]
fn a_key_of_aws_stands_for_all_regions() -> Tested {
    let config = "\
[default]
region = eu-west-1
[profile shop-dev]
role_arn = arn:aws:iam::123456789012:role/deploy
region = eu-west-2
[profile shop]
role_arn = arn:aws:iam::123456789012:role/production
region = eu-west-3
[profile nowhere]
sso_session = a
region = $(hostname)
";
    let mut scene = Scene::new()?.with("~/.aws/config", config)?.with(
        "~/.aws/credentials",
        "[default]\naws_access_key_id = A\naws_secret_access_key = S\n[other]\naws_access_key_id = A\n",
    )?;
    scene.environment = [("AWS_PROFILE", "shop"), ("AWS_REGION", "eu-west-3")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
    has(
        &scene,
        &[
            "production sts.amazonaws.com:443 platform, shop ~/.aws/config:6, AWS_PROFILE the environment, nowhere ~/.aws/config:9, default ~/.aws/credentials:1, other ~/.aws/credentials:4, shop-dev ~/.aws/config:3",
        ],
    )?;
    let found = scene.look()?;
    let opens = ["*.amazonaws.com", "*.amazonaws.com.cn", "*.api.aws"];
    assert_eq!(found.findings[0].others, opens);
    // One that is said to be a developer's alone opens nothing of production.
    let dev = Scene::new()?.with("~/.aws/credentials", "[sandbox]\naws_access_key_id = A\n")?;
    has(
        &dev,
        &["dev sts.amazonaws.com:443 platform, sandbox ~/.aws/credentials:1"],
    )
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
fn a_server_behind_a_proxy_is_said_and_one_may_go_by_another_name() -> Tested {
    let config = "clusters: [{name: a, cluster: {server: 'https://203.0.113.40:6443', proxy-url: 'socks5://127.0.0.1:1080', \
                  tls-server-name: api.prod.example.com}}]\ncontexts: [{name: team, context: {cluster: a}}]\n";
    let scene = Scene::new()?.with("~/.kube/config", config)?;
    let place = "production 203.0.113.40:6443 kubernetes, team ~/.kube/config:2";
    has(&scene, &[place])?;
    let found = scene.look()?;
    let said = "a proxy before that server: a rule for it is what counts";
    assert_eq!(
        (found.keys[0].what, &*found.keys[0].seen.key),
        (said, "team")
    );
    assert_eq!(passed_over(&found), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_list_has_all_its_hosts_and_a_reference_is_a_key() -> Tested {
    let text = "ETCDCTL_ENDPOINTS=etcd1.example.net,etcd2.example.net:2380\nNATS_URL=nats://n1.example.net,nats://n2.example.net\n\
                PROD_DATABASE_URL=op://Shop/db/url\nPGHOSTADDR=203.0.113.9\n";
    let scene = Scene::new()?.with(".env", text)?;
    has(
        &scene,
        &[
            "maybe etcd1.example.net:2379 http, ETCDCTL_ENDPOINTS .env:1",
            "maybe etcd2.example.net:2380 http, ETCDCTL_ENDPOINTS .env:1",
            "maybe n1.example.net:4222 nats, NATS_URL .env:2",
            "maybe n2.example.net:4222 nats, NATS_URL .env:2",
            "maybe 203.0.113.9:5432 postgres, PGHOSTADDR .env:4",
        ],
    )?;
    let keys = scene.look()?.keys;
    let keys: Vec<_> = keys.iter().map(|one| (one.what, &*one.seen.key)).collect();
    assert_eq!(keys, [("a reference to a vault's", "PROD_DATABASE_URL")]);
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
    env_file: [settings/../settings/other.vars, {path: settings/more.vars, required: false}, ../above.vars]
    environment:
      - QUEUE_URL=amqp://a:b@queue.example.com
";
    let context = r#"{"Name": "prod-swarm", "Endpoints": {"docker": {"Host": "ssh://me@swarm.example.com"}}}"#;
    let mcp = "{\n\"mcpServers\": {\"supabase\": {\n\"args\": [\"-y\", \"postgres://a:b@db.example.supabase.co/postgres\"],\n\
        \"env\": {\"API_URL\": \"https://api.prod.example.org\"}}}}";
    has(
        &Scene::new()?
            .with("compose.yaml", compose)?
            .with(
                "settings/other.vars",
                "SEARCH_URL=https://search.prod.example.com\n",
            )?
            .with(
                "settings/more.vars",
                "MAIN_DATABASE_URL=postgres://a:b@db3.prod.example.com/a\n",
            )?
            .with("~/.docker/contexts/meta/0/meta.json", context)?
            .with(".mcp.json", mcp)?,
        &[
            "local db:5432 postgres, DATABASE_URL compose.yaml:5",
            "production cache.prod.example.com:6379 redis, CACHE_URL compose.yaml:6",
            "production queue.example.com:5672 amqp, QUEUE_URL compose.yaml:10",
            "production search.prod.example.com:443 http, SEARCH_URL settings/other.vars:1",
            "production db3.prod.example.com:5432 postgres, MAIN_DATABASE_URL settings/more.vars:1",
            "production swarm.example.com:22 docker, prod-swarm ~/.docker/contexts/meta/0/meta.json:1",
            "production db.example.supabase.co:5432 postgres, supabase .mcp.json:3",
            "production api.prod.example.org:443 http, API_URL .mcp.json:4",
        ],
    )
}

#[test]
fn what_a_bare_host_speaks_is_taken_from_what_stands_beside_it() -> Tested {
    let places = [
        ("DB_HOST=db.example.io\n", "db.example.io:0 database"),
        (
            "DB_HOST=db.example.io\nDB_PORT=3306\n",
            "db.example.io:3306 mysql",
        ),
        (
            "DB_HOST=db.example.io\nDB_PORT=6000\n",
            "db.example.io:6000 database",
        ),
        (
            "DB_HOST=db.example.io\nDB_CONNECTION=sqlsrv\n",
            "db.example.io:1433 sqlserver",
        ),
        (
            "DB_HOST=db.example.io\nDB_CONNECTION=pgsql\nDB_PORT=6000\n",
            "db.example.io:6000 postgres",
        ),
        (
            "DB_HOST=db.example.io\nMYSQL_ROOT_PASSWORD=word\n",
            "db.example.io:3306 mysql",
        ),
        (
            "DB_HOST=db.example.io\nMYSQL_X=1\nPOSTGRES_X=1\n",
            "db.example.io:0 database",
        ),
        (
            "POSTGRES_HOST=db.example.io\n",
            "db.example.io:5432 postgres",
        ),
    ];
    for (text, expected) in places {
        let found = Scene::new()?.with(".env", text)?.look()?;
        let lines = lines(&found);
        assert!(
            lines[0].contains(&format!(" {expected}, ")),
            "{text}: {lines:?}"
        );
    }
    Ok(())
}

#[test]
fn terraform_and_prisma() -> Tested {
    let main = "\
terraform {
  backend \"s3\" {
    bucket = \"acme-prod-state\" # where it is
    region = \"eu-west-1\"
  }
}
/* provider \"mysql\" {
  endpoint = \"no.example.com\"
*/
provider \"postgresql\" {
  host     = \"pg.prod.example.com\"
  port     = 5433
  password = \"word\"
}
provider \"mysql\" {
  endpoint = \"my.example.com:3307\"
  password = var.password
}
provider \"kubernetes\" {
  host           = \"https://203.0.113.70:6443\"
  config_context = \"prod\"
}
resource \"null_resource\" \"deploy\" {
  triggers = {
    url = \"${var.url}\"
  }
  connection {
    type = \"ssh\"
    host = \"web.prod.example.com\"
  }
  text = <<-EOT
    host = \"in.example.com\"
  EOT
}
";
    let state = r#"{"version": 4,
 "backend": {"type": "s3", "config": {"bucket": "acme-live", "region": "us-east-1"}},
 "resources": [
 {"type": "aws_db_instance", "name": "main", "instances": [
  {"attributes": {"address": "main.abc.eu-west-1.rds.amazonaws.com", "engine": "mysql", "port": 3306,
    "tags": {"Environment": "prod"}, "password": "word"}}]},
 {"type": "aws_eks_cluster", "name": "c", "instances": [{"attributes": {"endpoint": "https://c.eks.amazonaws.com"}}]},
 {"type": "random_password", "name": "p", "instances": [{"attributes": {"result": "word"}}]}]}"#;
    has(
        &Scene::new()?
            .with("infra/main.tf", main)?
            .with(
                "infra/prod.tfvars",
                "db_host = \"10.2.0.4\"\ndb_password = \"word\"\n",
            )?
            .with(
                "schema.prisma",
                "datasource db {\n  url = \"mysql://a:word@db.example.io/a\"\n}\n",
            )?
            .with("infra/terraform.tfstate", state)?
            .with("infra/.terraform/providers/x/main.tf", main)?,
        &[
            "production s3.eu-west-1.amazonaws.com:443 s3, backend.s3 infra/main.tf:2",
            "production pg.prod.example.com:5433 postgres, postgresql.host infra/main.tf:11",
            "maybe my.example.com:3307 mysql, mysql.host infra/main.tf:16",
            "production 203.0.113.70:6443 kubernetes, kubernetes infra/main.tf:19",
            "production web.prod.example.com:22 ssh, connection infra/main.tf:27",
            "production 10.2.0.4:0 database, db_host infra/prod.tfvars:1",
            "production db.example.io:3306 mysql, db.url schema.prisma:2",
            "production s3.us-east-1.amazonaws.com:443 s3, backend.s3 infra/terraform.tfstate:2",
            "production main.abc.eu-west-1.rds.amazonaws.com:3306 mysql, aws_db_instance.main infra/terraform.tfstate:5",
            "maybe c.eks.amazonaws.com:443 kubernetes, aws_eks_cluster.c infra/terraform.tfstate:7",
        ],
    )
}

#[test]
fn pipelines() -> Tested {
    let github = "\
on: push
env:
  CACHE_URL: redis://:word@cache.example.net
jobs:
  test:
    services:
      postgres: {image: postgres}
    env:
      DATABASE_URL: postgres://a:b@postgres/app
    steps:
      - run: psql -h postgres -c 'select 1'
      - run: curl https://get.example.org/install.sh | sh
  deploy:
    environment:
      name: production
    steps:
      - uses: appleboy/ssh-action@v1
        with:
          host: 203.0.113.9
          key: ${{ secrets.KEY }}
      - run: |
          rsync -a . deploy@web.example.com:/srv
          psql -h db.example.org < migrate.sql
          psql postgres://app:word@db2.example.org/app
";
    let gitlab = "\
variables: {A_URL: 'amqp://a:word@queue.example.io'}
release:
  environment: {name: production, url: 'https://shop.example.io'}
  script:
    - ssh root@shop.example.io uptime
";
    has(
        &Scene::new()?
            .with(".github/workflows/ci.yml", github)?
            .with(".gitlab-ci.yml", gitlab)?,
        &[
            "production cache.example.net:6379 redis, CACHE_URL .github/workflows/ci.yml:3",
            "local postgres:5432 postgres, DATABASE_URL .github/workflows/ci.yml:9",
            "production 203.0.113.9:22 ssh, production .github/workflows/ci.yml:19",
            "production web.example.com:22 ssh, production .github/workflows/ci.yml:22",
            "production db.example.org:5432 postgres, production .github/workflows/ci.yml:23",
            "production db2.example.org:5432 postgres, production .github/workflows/ci.yml:24",
            "production queue.example.io:5672 amqp, A_URL .gitlab-ci.yml:1",
            "production shop.example.io:22 ssh, production .gitlab-ci.yml:5",
        ],
    )
}

#[test]
fn frameworks() -> Tested {
    let rails = "\
<% if true %>
default: &default
  adapter: mysql2
  password: <%= ENV['DB_PASSWORD'] %>

development:
  <<: *default
  host: localhost
production:
  primary:
    <<: *default
    host: db2.example.com
    database: shop_production
  replica:
    url: postgres://app:word@db3.example.com/shop
";
    let spring = "\
spring:
  datasource:
    url: jdbc:postgresql://pg.example.io/app
    password: word
---
spring:
  config: {activate: {on-profile: prod}}
  redis:
    host: cache.example.io
    port: 6380
";
    let dotnet = "{\n// where\n\"ConnectionStrings\": {\n\"Default\": \"Server=sql.example.io;Database=a;User Id=u;Password=word\"}}";
    has(
        &Scene::new()?
            .with("config/database.yml", rails)?
            .with("src/main/resources/application.yml", spring)?
            .with(
                "application-prod.properties",
                "spring.datasource.url=jdbc:mysql://my.example.io/a\nspring.datasource.password=word\n",
            )?
            .with("appsettings.Production.json", dotnet)?,
        &[
            "local localhost:3306 mysql, development config/database.yml:6",
            "production db2.example.com:3306 mysql, production config/database.yml:10",
            "production db3.example.com:5432 postgres, production config/database.yml:14",
            "production pg.example.io:5432 postgres, spring.datasource.url src/main/resources/application.yml:3",
            "production cache.example.io:6380 redis, spring.redis.host src/main/resources/application.yml:9",
            "production my.example.io:3306 mysql, spring.datasource.url application-prod.properties:1",
            "production sql.example.io:1433 sqlserver, ConnectionStrings.Default appsettings.Production.json:4",
        ],
    )
}

#[test]
fn clients_on_the_command_line() -> Tested {
    let git = "\
[core]
\tbare = false
[remote \"origin\"]
\turl = git@github.com:acme/shop.git
[remote \"production\"]
\turl = dokku@dokku.example.com:shop
[remote \"own\"]
\turl = https://git.example.com/acme/shop
[remote \"disk\"]
\turl = /srv/git/a:b
";
    let netrc = "machine api.heroku.com\n  login me\n  password word\nmachine files.example.com login machine password word\n\
        macdef init\nmachine no.example.com\n";
    let npmrc = "registry=https://registry.npmjs.org/\n@acme:registry=https://npm.example.com/\n//npm.example.com/:_authToken=word\n";
    let azure = "\u{feff}{\"subscriptions\": [\n{\"name\": \"acme-dev\", \"isDefault\": false},\n{\"name\": \"Acme Production\", \"isDefault\": true}]}";
    let scene = Scene::new()?
        .with(".git/config", git)?
        .with(".git/modules/a/config", git)?
        .with("~/.netrc", netrc)?
        .with(".npmrc", npmrc)?
        .with("~/.azure/azureProfile.json", azure)?
        .with(
            "~/.config/immich/auth.yml",
            "url: http://192.168.7.20:2283/api\nkey: word\n",
        )?
        .with(
            "~/.config/gcloud/configurations/config_live",
            "[core]\naccount = me@example.com\nproject = acme\n",
        )?;
    has(
        &scene,
        &[
            "tool github.com:22 git, origin .git/config:3",
            "production dokku.example.com:22 ssh, production .git/config:5",
            "unknown git.example.com:443 git, own .git/config:7",
            "production api.heroku.com:443 platform, machine ~/.netrc:1",
            "maybe files.example.com:443 http, machine ~/.netrc:4",
            "tool registry.npmjs.org:443 http, registry .npmrc:1",
            "maybe npm.example.com:443 http, token .npmrc:3, registry .npmrc:2",
            "production management.azure.com:443 platform, - ~/.azure/azureProfile.json:3, acme-dev ~/.azure/azureProfile.json:2",
            "production cloudresourcemanager.googleapis.com:443 platform, project ~/.config/gcloud/configurations/config_live:1",
            "production 192.168.7.20:2283 immich, url ~/.config/immich/auth.yml:1",
        ],
    )?;
    assert_eq!(
        passed_over(&scene.look()?),
        ["~/.netrc:5: a macro, and what is behind it"]
    );
    Ok(())
}

#[test]
fn names_that_this_machine_knows_have_their_addresses() -> Tested {
    let mut scene = Scene::new()?.with(
        ".env",
        "A=postgres://a:b@db.example.net/a\nB=redis://:p@cache.example.net\n",
    )?;
    let hosts = scene.home.path().join("hosts");
    fs::write(
        &hosts,
        "# names\n127.0.0.1 localhost cache.example.net\n10.2.3.4 DB.example.net db # so\n2001:db8::4 db.example.net\nnonsense x\n",
    )?;
    scene.hosts = Some(hosts);
    let found = scene.look()?;
    let addresses: Vec<_> = found
        .findings
        .iter()
        .map(|one| (one.host.as_str(), one.addresses.clone()))
        .collect();
    assert!(addresses.contains(&(
        "db.example.net",
        vec!["10.2.3.4".parse()?, "2001:db8::4".parse()?]
    )));
    // What is here may lead anywhere.
    assert!(addresses.contains(&("cache.example.net", Vec::new())));
    Ok(())
}

#[test]
fn directories_of_settings_in_the_home() -> Tested {
    has(
        &Scene::new()?
            .with("~/.ssh/config.d/work", "Host web\nHostName web.prod.example.com\n")?
            .with(
                "~/.kube/config.d/live",
                "clusters: [{name: a, cluster: {server: 'https://k.example.io'}}]\ncontexts: [{name: live, context: {cluster: a}}]\n",
            )?,
        &[
            "production web.prod.example.com:22 ssh, web ~/.ssh/config.d/work:1",
            "production k.example.io:443 kubernetes, live ~/.kube/config.d/live:2",
        ],
    )
}
