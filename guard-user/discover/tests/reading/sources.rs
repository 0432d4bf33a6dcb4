//! Frameworks whose settings are programs, scripts, what clients of databases keep, and logins that say where they are for.

use std::collections::BTreeSet;

use super::formats::has;
use super::*;

#[test]
fn settings_that_are_programs() -> Tested {
    let django = "\
import os
# DATABASES = {'default': {'HOST': 'no.example.com', 'NAME': 'a'}}
DEBUG = 'prod' in HOSTNAME
if DEBUG:
    SQL = \"\"\"
    host: 'postgres://no.example.com/a'
    \"\"\"
DATABASES = {
    'default': {
        'ENGINE': 'django.db.backends.postgresql',
        'NAME': 'shop',
        'PASSWORD': os.environ['DB_PASSWORD'],
        'HOST': 'pg.example.io',
        'PORT': 5433,
    },
    'reports': {
        'ENGINE': 'django.db.backends.mysql',
        'HOST': os.environ.get('REPORTS_HOST', 'reports.example.io'),
        'NAME': 'reports_' + STAGE,
    },
    'own': {'ENGINE': 'django.db.backends.mysql', 'HOST': 'own.' + DOMAIN, 'NAME': 'own'},
}
DATABASES['replica'] = dict(ENGINE='django.db.backends.mysql', HOST='replica.example.io')
CACHES = {'default': {'LOCATION': 'redis://cache.example.io:6379/1'}}
EMAIL = {'host': 'mail.example.io', 'port': 25}
SITE = 'https://www.example.io'
STRIPE_SECRET_KEY = 'sk_live_0123456789'
";
    has(
        &Scene::new()?.with("shop/settings.py", django)?,
        &[
            "production pg.example.io:5433 postgres, DATABASES.default.HOST shop/settings.py:13",
            "maybe reports.example.io:3306 mysql, DATABASES.reports.HOST shop/settings.py:18",
            "maybe replica.example.io:3306 mysql, DATABASES.replica.HOST shop/settings.py:23",
            "maybe cache.example.io:6379 redis, CACHES.default.LOCATION shop/settings.py:24",
            "production api.stripe.com:443 platform, STRIPE_SECRET_KEY shop/settings.py:27",
        ],
    )?;
    let flask = "\
class DevelopmentConfig(Config):
    SQLALCHEMY_DATABASE_URI = 'postgres://app:word@db.example.org/app'

class ProductionConfig(Config):
    SQLALCHEMY_DATABASE_URI = os.getenv('DATABASE_URL', 'postgres://app:word@db.example.io/app')
";
    has(
        &Scene::new()?.with("app/config.py", flask)?,
        &[
            "dev db.example.org:5432 postgres, DevelopmentConfig.SQLALCHEMY_DATABASE_URI app/config.py:2",
            "production db.example.io:5432 postgres, ProductionConfig.SQLALCHEMY_DATABASE_URI app/config.py:5",
        ],
    )
}

#[test]
fn settings_in_javascript() -> Tested {
    let knex = "\
// connection: 'postgres://no.example.com/a'
/* host: 'no.example.com',
   database: 'a' */
module.exports = {
  development: { client: 'sqlite3', connection: { filename: './dev.sqlite3' } },
  staging: {
    client: 'pg',
    connection: { host: 'stg.example.io', database: 'shop', password: 'it\\'s' }
  },
  production: {
    client: 'pg',
    connection: {
      host: process.env.DB_HOST || 'pg.example.io',
      port: 6432,
      database: `shop`,
      password: process.env.DB_PASSWORD
    }
  }
};
";
    let drizzle = "\
import { defineConfig } from 'drizzle-kit';
export default defineConfig({
  dialect: 'postgresql',
  dbCredentials: { url: 'postgres://app:word@ep-1.eu-west-2.aws.neon.tech/app' },
  site: { host: 'www.example.io' },
});
";
    let typeorm = "\
export const AppDataSource = new DataSource({
  type: \"mysql\",
  host: \"my.example.io\",
  username: \"app\",
  password: \"word\",
  entities: [__dirname + '/**/*.entity.ts'],
});
";
    has(
        &Scene::new()?
            .with("knexfile.js", knex)?
            .with("drizzle.config.ts", drizzle)?
            .with("src/data-source.ts", typeorm)?,
        &[
            "staging stg.example.io:5432 postgres, staging.connection.host knexfile.js:8",
            "production pg.example.io:6432 postgres, production.connection.host knexfile.js:13",
            "production ep-1.eu-west-2.aws.neon.tech:5432 postgres, dbCredentials.url drizzle.config.ts:4",
            "production my.example.io:3306 mysql, AppDataSource.host src/data-source.ts:3",
        ],
    )
}

#[test]
fn settings_in_other_languages() -> Tested {
    let laravel = "\
<?php
return [
    'connections' => [
        # 'host' => 'no.example.com', 'database' => 'a',
        'mysql' => [
            'driver' => 'mysql',
            'host' => env('DB_HOST', '127.0.0.1'),
            'database' => env('DB_DATABASE', 'forge'),
            'password' => env('DB_PASSWORD', ''),
        ],
        'live' => [
            'driver' => 'pgsql',
            'host' => 'pg.example.io',
            'password' => env('DB_PASSWORD', ''),
        ],
    ],
];
";
    let wordpress = "\
<?php
define( 'DB_NAME', 'blog' );
define( 'DB_PASSWORD', 'word' );
/** the host */
define( 'DB_HOST', 'db.hosting.example.net' );
";
    let drupal = "\
<?php
$databases['default']['default'] = array (
  'database' => 'site',
  'password' => 'word',
  'host' => 'drupal.example.io',
  'driver' => 'mysql',
);
";
    let phoenix = "\
import Config

config :shop, Shop.Repo,
  username: \"shop\",
  password: \"word\",
  hostname: \"phx.example.io\",
  database: \"shop_prod\"

config :shop, ShopWeb.Endpoint,
  url: [host: \"shop.example.io\", port: 443]
";
    let play = "\
# db.default.url=\"jdbc:postgresql://no.example.com/a\"
db {
  default {
    driver = org.postgresql.Driver
    url = \"jdbc:postgresql://play.example.io/app\"
    password = ${?DB_PASSWORD}
  }
}
";
    has(
        &Scene::new()?
            .with("config/database.php", laravel)?
            .with("blog/wp-config.php", wordpress)?
            .with("sites/default/settings.php", drupal)?
            .with("config/runtime.exs", phoenix)?
            .with("conf/application.conf", play)?,
        &[
            "local 127.0.0.1:3306 mysql, connections.mysql.host config/database.php:7",
            "production pg.example.io:5432 postgres, connections.live.host config/database.php:13",
            "production db.hosting.example.net:0 database, DB_HOST blog/wp-config.php:5",
            "production drupal.example.io:3306 mysql, databases.default.default.host sites/default/settings.php:5",
            "production phx.example.io:0 database, Shop.Repo.hostname config/runtime.exs:6",
            "production play.example.io:5432 postgres, db.default.url conf/application.conf:5",
        ],
    )
}

#[test]
fn settings_of_tools_for_databases() -> Tested {
    let alembic = "\
[alembic]
script_location = alembic
# sqlalchemy.url = postgresql://no.example.com/a
sqlalchemy.url = postgresql+psycopg2://app:word@alembic.example.io/app
[logger_root]
level = WARN
";
    let sequelize = "{
  \"development\": {\"username\": \"root\", \"password\": null, \"database\": \"dev\", \"host\": \"127.0.0.1\", \"dialect\": \"mysql\"},
  \"production\": {\"username\": \"root\", \"password\": \"word\", \"database\": \"shop\",
    \"host\": \"seq.example.io\", \"dialect\": \"mysql\"}
}";
    let typeorm = "[{\"name\": \"default\", \"type\": \"postgres\",\n\"host\": \"orm.example.io\", \"port\": 5433, \"password\": \"word\", \"database\": \"app\"}]";
    let liquibase = "changeLogFile: db/changelog.xml\nurl: jdbc:mysql://liqui.example.io:3307/app\nusername: app\npassword: word\n";
    let flyway = "[environments.prod]\nurl = \"jdbc:postgresql://fly.example.io/app\"\nuser = \"app\"\npassword = \"word\"\n";
    let net = "\u{feff}<?xml version=\"1.0\"?>
<configuration><connectionStrings>
  <add name=\"Shop\" connectionString=\"Server=sql.example.io;Database=shop;User Id=a;Password=word\" />
</connectionStrings></configuration>
";
    let jpa = "<persistence><persistence-unit name=\"shop\"><properties>
  <property name=\"jakarta.persistence.jdbc.url\" value=\"jdbc:mysql://jpa.example.io/shop?user=a&amp;password=word\"/>
</properties></persistence-unit></persistence>";
    has(
        &Scene::new()?
            .with("alembic.ini", alembic)?
            .with("config/config.json", sequelize)?
            .with("ormconfig.json", typeorm)?
            .with("liquibase.properties", liquibase)?
            .with("flyway.toml", flyway)?
            .with("Web.config", net)?
            .with("src/main/resources/META-INF/persistence.xml", jpa)?,
        &[
            "production alembic.example.io:5432 postgres, alembic.sqlalchemy.url alembic.ini:4",
            "local 127.0.0.1:3306 mysql, development.host config/config.json:2",
            "production seq.example.io:3306 mysql, production.host config/config.json:4",
            "production orm.example.io:5433 postgres, default.host ormconfig.json:2",
            "production liqui.example.io:3307 mysql, url liquibase.properties:2",
            "production fly.example.io:5432 postgres, environments.prod.url flyway.toml:2",
            "production sql.example.io:1433 sqlserver, Shop Web.config:3",
            "maybe jpa.example.io:3306 mysql, jakarta.persistence.jdbc.url src/main/resources/META-INF/persistence.xml:2",
        ],
    )
}

#[test]
fn what_graphical_clients_keep() -> Tested {
    let dbeaver = r#"{"folders": {}, "connections": {
"postgres-jdbc-1": {"provider": "postgresql", "driver": "postgres-jdbc", "name": "orders", "save-password": true,
  "configuration": {"host": "orders.example.io", "port": "5432", "database": "orders",
    "url": "jdbc:postgresql://orders.example.io:5432/orders", "type": "prod", "auth-model": "native"}},
"mysql8-2": {"provider": "mysql", "driver": "mysql8", "name": "own",
  "configuration": {"host": "own.example.io", "port": "3306", "database": "own", "type": "dev"}}}}"#;
    let jetbrains = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<project version=\"4\">
  <component name=\"DataSourceManagerImpl\" format=\"xml\" multifile-model=\"true\">
    <data-source source=\"LOCAL\" name=\"shop@live\" uuid=\"1\">
      <driver-ref>postgresql</driver-ref>
      <jdbc-driver>org.postgresql.Driver</jdbc-driver>
      <jdbc-url>jdbc:postgresql://jb.example.io:5432/shop</jdbc-url>
    </data-source>
  </component>
</project>
";
    let servers = "<project version=\"4\"><component name=\"WebServers\"><option name=\"servers\">
<webServer id=\"1\" name=\"production\"><fileTransfer accessType=\"SFTP\" host=\"web.example.io\" port=\"2222\" /></webServer>
</option></component></project>";
    let workbench = "<?xml version=\"1.0\"?>
<data grt_format=\"2.0\"><value type=\"list\" content-struct-name=\"db.mgmt.Connection\">
<value type=\"object\" struct-name=\"db.mgmt.Connection\" id=\"1\">
<value type=\"dict\" key=\"parameterValues\">
<value type=\"string\" key=\"hostName\">bench.example.io</value><value type=\"int\" key=\"port\">3307</value>
<value type=\"string\" key=\"userName\">app</value><value type=\"string\" key=\"schema\"></value>
<value type=\"string\" key=\"sshHost\">jump.example.io:22</value>
</value><value type=\"string\" key=\"name\">Production</value></value></value></data>
";
    let pgadmin = r#"{"Servers": {"1": {"Name": "billing-prod", "Group": "Servers", "Host": "pga.example.io", "Port": 5432, "MaintenanceDB": "postgres", "Username": "app"}}}"#;
    let compass = r#"{"_id": "a", "connectionInfo": {"id": "a", "connectionOptions": {"connectionString": "mongodb+srv://app:word@c0.ab1.mongodb.net/"}, "favorite": {"name": "Live", "color": "color1"}}}"#;
    let code = r#"{
// mine
"editor.tabSize": 2, "sqltools.connections": [
{"name": "warehouse", "driver": "PostgreSQL", "server": "dw.example.io", "port": 5439, "database": "dw_production", "password": "word"}],
"mssql.connections": [{"server": "ms.example.io", "database": "erp", "profileName": "erp-prod", "password": ""}]}"#;
    let scene = Scene::new()?
        .with(
            "~/.local/share/DBeaverData/workspace6/General/.dbeaver/data-sources.json",
            dbeaver,
        )?
        .with(".idea/dataSources.xml", jetbrains)?
        .with(".idea/webServers.xml", servers)?
        .with("~/.mysql/workbench/connections.xml", workbench)?
        .with("pgadmin/servers.json", pgadmin)?
        .with("~/.config/MongoDB Compass/Connections/a.json", compass)?
        .with(".vscode/settings.json", code)?
        .with("~/.mylogin.cnf", b"\0\0\0\0")?
        .with("~/.pgadmin/pgadmin4.db", b"SQLite format 3\0")?;
    has(
        &scene,
        &[
            "production orders.example.io:5432 postgres, orders.configuration.url ~/.local/share/DBeaverData/workspace6/General/.dbeaver/data-sources.json:4",
            "dev own.example.io:3306 mysql, own.configuration.host ~/.local/share/DBeaverData/workspace6/General/.dbeaver/data-sources.json:6",
            "production jb.example.io:5432 postgres, - .idea/dataSources.xml:7",
            "production web.example.io:2222 ssh, production .idea/webServers.xml:2",
            "production bench.example.io:3307 mysql, Production ~/.mysql/workbench/connections.xml:4",
            "production jump.example.io:22 ssh, Production ~/.mysql/workbench/connections.xml:4",
            "production pga.example.io:5432 postgres, billing-prod.Host pgadmin/servers.json:1",
            "production c0.ab1.mongodb.net:27017 mongodb, Live.connectionOptions.connectionString ~/.config/MongoDB Compass/Connections/a.json:1",
            "production dw.example.io:5439 postgres, warehouse.server .vscode/settings.json:4",
            "production ms.example.io:1433 sqlserver, erp-prod.server .vscode/settings.json:5",
        ],
    )?;
    let found = scene.look()?;
    let keys: Vec<_> = found.keys.iter().map(|key| key.what).collect();
    assert_eq!(keys, ["a login of MySQL's client", "servers of pgAdmin"]);
    assert_eq!(passed_over(&found), Vec::<String>::new());
    Ok(())
}

#[test]
fn what_clients_on_the_command_line_keep() -> Tested {
    let usql = "\
connections:
  reports: postgres://app:word@usql.example.io/reports
  live: {protocol: mysql, hostname: usql2.example.io, port: 3307, database: shop, username: app, password: word}
";
    has(
        &Scene::new()?
            .with("~/.config/usql/config.yaml", usql)?
            .with("~/.config/pgcli/config", "[main]\nmulti_line = False\n[alias_dsn]\nbilling_prod = postgresql://app@pgcli.example.io/billing\n")?
            .with("~/.myclirc", "[alias_dsn]\n# a = mysql://no.example.com\nshop = mysql://app:word@mycli.example.io/shop\n")?
            .with("~/.odbc.ini", "[Live]\nDriver = PostgreSQL Unicode\nServername = no.example.com\nServer = odbc.example.io\nPort = 5432\nPassword = word\n")?
            .with("~/.mongoshrc.js", "db = connect('mongodb://app:word@mongo.example.io/shop');\n")?,
        &[
            "production usql.example.io:5432 postgres, connections.reports ~/.config/usql/config.yaml:2",
            "production usql2.example.io:3307 mysql, connections.live.hostname ~/.config/usql/config.yaml:3",
            "production pgcli.example.io:5432 postgres, alias_dsn.billing_prod ~/.config/pgcli/config:4",
            "production mycli.example.io:3306 mysql, alias_dsn.shop ~/.myclirc:3",
            "production odbc.example.io:5432 postgres, Live.Server ~/.odbc.ini:4",
            "production mongo.example.io:27017 mongodb, db ~/.mongoshrc.js:1",
        ],
    )
}

#[test]
fn commands_of_a_project() -> Tested {
    let makefile = "\
PGHOST := pg.example.io
SITE = https://www.example.io

deploy-prod: build
\t@echo ssh me@no.example.com
\tssh deploy@203.0.113.9 'docker compose up -d' && rsync -a . web1:/srv
\tkubectl --context prod-eu \\
\t  apply -f k8s

migrate:
\tpsql -h db.example.org -p 5433 -d shop < a.sql
\tapt-get install ssh curl
";
    let package = "{\"name\": \"a\", \"scripts\": {
\"build\": \"vite build --host no.example.com\",
\"db:push:prod\": \"DATABASE_URL=postgres://app:word@push.example.io/app prisma db push\",
\"dev\": \"DATABASE_URL='postgres://app:word@localhost/app' next dev\"}}";
    let task = "\
version: '3'
tasks:
  release:
    env: {REDIS_URL: 'redis://:word@task.example.io'}
    cmds:
      - docker --context swarm stack deploy shop
      - cmd: mysql -h my.example.io shop
";
    let shell = "\
#!/bin/sh
# ssh me@no.example.com
export MYSQL_HOST=sh.example.io MYSQL_PASSWORD=word
for host in $HOSTS; do ssh $host uptime; done
if ! pg_dump --host=dump.example.io shop; then echo ssh me@no2.example.com; fi
";
    let scene = Scene::new()?
        .with("Makefile", makefile)?
        .with("package.json", package)?
        .with("Taskfile.yml", task)?
        .with("scripts/deploy.sh", shell)?
        .with("Procfile", "release: psql postgres://app:word@proc.example.io/app -f a.sql\n")?
        .with("~/.ssh/config", "Host web1\nHostName 203.0.113.10\n")?
        .with(
            "~/.kube/config",
            "clusters: [{name: a, cluster: {server: 'https://203.0.113.40:6443'}}]\ncontexts:\n- {name: prod-eu, context: {cluster: a}}\n",
        )?;
    has(
        &scene,
        &[
            "maybe pg.example.io:5432 postgres, PGHOST Makefile:1",
            "production 203.0.113.9:22 ssh, deploy-prod Makefile:6",
            "production 203.0.113.10:22 ssh, deploy-prod Makefile:6, web1 ~/.ssh/config:1",
            "production 203.0.113.40:6443 kubernetes, deploy-prod Makefile:7, prod-eu ~/.kube/config:3",
            "maybe db.example.org:5433 postgres, migrate Makefile:11",
            "production push.example.io:5432 postgres, db.push.prod package.json:3",
            "local localhost:5432 postgres, dev package.json:4",
            "production task.example.io:6379 redis, REDIS_URL Taskfile.yml:4",
            "maybe my.example.io:3306 mysql, release Taskfile.yml:7",
            "production sh.example.io:3306 mysql, MYSQL_HOST scripts/deploy.sh:3",
            "maybe dump.example.io:5432 postgres, - scripts/deploy.sh:5",
            "maybe proc.example.io:5432 postgres, release Procfile:1",
        ],
    )?;
    let found = scene.look()?;
    let keys: Vec<_> = found
        .keys
        .iter()
        .map(|key| (key.what, key.seen.key.as_str()))
        .collect();
    assert_eq!(keys, [("context of Docker", "release")]);
    Ok(())
}

#[test]
fn servers_that_a_project_is_put_on() -> Tested {
    let deploy = "\
service: shop
servers:
  web:
    - 203.0.113.10
    - 203.0.113.11: [a, b]
  job:
    hosts: [\"<%= ENV['JOB'] %>\", worker.example.io]
registry: {username: me, password: [KAMAL_REGISTRY_PASSWORD]}
env:
  clear: {DB_HOST: db.example.io, SITE: https://shop.example.io}
  secret: [DB_PASSWORD]
accessories:
  redis: {image: redis, host: 203.0.113.12}
";
    let scene = Scene::new()?
        .with("config/deploy.yml", deploy)?
        .with("config/deploy.staging.yml", "servers: [203.0.113.13]\n")?;
    has(
        &scene,
        &[
            "production 203.0.113.10:22 ssh, servers config/deploy.yml:4",
            "production 203.0.113.11:22 ssh, servers config/deploy.yml:5",
            "production worker.example.io:22 ssh, servers config/deploy.yml:7",
            "maybe db.example.io:0 database, DB_HOST config/deploy.yml:10",
            "maybe shop.example.io:443 http, SITE config/deploy.yml:10",
            "production 203.0.113.12:22 ssh, redis config/deploy.yml:13",
            "staging 203.0.113.13:22 ssh, servers config/deploy.staging.yml:1",
        ],
    )
}

#[test]
fn logins_that_say_where_they_are_for() -> Tested {
    let gh = "github.com:\n    users:\n        me:\n    user: me\ngit.example.com:\n    oauth_token: word\n    user: me\n";
    let glab = "git_protocol: ssh\nhosts:\n    gitlab.com:\n        token: \"\"\n    gitlab.example.com:\n        token: word\n        api_host: gitlab.example.com:8443\n";
    let argocd = "contexts:\n- name: shop-prod\n  server: argo.example.com\n  user: argo.example.com\nusers:\n- auth-token: word\n  name: argo.example.com\n";
    let terraform = "{\"credentials\": {\n\"app.terraform.io\": {\"token\": \"word\"},\n\"tfe.example.com\": {\"token\": \"word\"}}}";
    let pulumi = "{\"current\": \"https://api.pulumi.com\", \"accessTokens\": {\n\"https://api.pulumi.com\": \"word\", \"file://~\": \"\"}}";
    let minio = "{\"version\": \"10\", \"aliases\": {\n\"s3\": {\"url\": \"https://s3.amazonaws.com\", \"accessKey\": \"YOUR-ACCESS-KEY-HERE\"},\n\"backup-live\": {\"url\": \"https://minio.example.com:9000\", \"accessKey\": \"word\", \"secretKey\": \"word\"}}}";
    let stripe = "color = ''\n[default]\ntest_mode_api_key = 'sk_test_word'\nlive_mode_api_key = 'rk_live_word'\n";
    let mut scene = Scene::new()?
        .with("~/.config/gh/hosts.yml", gh)?
        .with("~/.config/glab-cli/config.yml", glab)?
        .with("~/.config/argocd/config", argocd)?
        .with("~/.terraform.d/credentials.tfrc.json", terraform)?
        .with(
            "~/.terraformrc",
            "credentials \"spacelift.example.com\" {\n  token = \"word\"\n}\n",
        )?
        .with("~/.pulumi/credentials.json", pulumi)?
        .with("~/.mc/config.json", minio)?
        .with("~/.config/stripe/config.toml", stripe)?
        .with(
            "~/.databrickscfg",
            "[DEFAULT]\nhost = https://dbc-1.cloud.databricks.com/\ntoken = word\n",
        )?
        .with("~/.vault-token", "hvs.word")?;
    scene.environment = [
        ("VAULT_ADDR", "https://vault.example.com:8200"),
        ("GITLAB_HOST", "gitlab2.example.com"),
        ("GITLAB_TOKEN", "glpat-0123456789"),
        ("TF_TOKEN_my__tfe_example_com", "word"),
        ("GH_TOKEN", "ghp_0123456789"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec();
    has(
        &scene,
        &[
            "tool api.github.com:443 platform, GH_TOKEN the environment, gh ~/.config/gh/hosts.yml:2",
            "production git.example.com:443 platform, gh ~/.config/gh/hosts.yml:6",
            "production gitlab.example.com:8443 platform, glab ~/.config/glab-cli/config.yml:6",
            "production gitlab2.example.com:443 platform, GITLAB_HOST the environment",
            "production argo.example.com:443 platform, shop-prod ~/.config/argocd/config:2",
            "production app.terraform.io:443 platform, credentials ~/.terraform.d/credentials.tfrc.json:2",
            "production tfe.example.com:443 platform, credentials ~/.terraform.d/credentials.tfrc.json:3",
            "production my-tfe.example.com:443 platform, TF_TOKEN_my__tfe_example_com the environment",
            "production spacelift.example.com:443 platform, credentials ~/.terraformrc:1",
            "production api.pulumi.com:443 platform, accessTokens ~/.pulumi/credentials.json:2",
            "production minio.example.com:9000 s3, backup-live ~/.mc/config.json:3",
            "production api.stripe.com:443 platform, default ~/.config/stripe/config.toml:2",
            "production dbc-1.cloud.databricks.com:443 platform, DEFAULT ~/.databrickscfg:1",
            "production vault.example.com:8200 platform, VAULT_ADDR the environment",
        ],
    )?;
    let alone = Scene::new()?.with("~/.vault-token", "hvs.word")?.look()?;
    assert_eq!(alone.keys[0].what, "a token of Vault");
    let trying = Scene::new()?.with(
        "~/.config/stripe/config.toml",
        "[default]\ntest_mode_api_key = 'sk_test_word'\n",
    )?;
    has(
        &trying,
        &["dev api.stripe.com:443 platform, default ~/.config/stripe/config.toml:1"],
    )
}

#[test]
fn many_scripts_take_no_other_files_place() -> Tested {
    let mut scene = Scene::new()?.with("a/b/c/.env", "A=redis://:p@cache.example.net\n")?;
    for number in 0..6 {
        scene = scene.with(&format!("{number}.sh"), "true\n")?;
    }
    let found = scene.look_within(Bounds {
        files: 4,
        ..Bounds::default()
    })?;
    assert_eq!((found.findings.len(), found.project_files), (1, 4));
    assert_eq!(passed_over(&found), [".: more files than are read"]);
    Ok(())
}

/// Where commands go, each as the places that it is found at.
#[test]
fn words_of_commands_are_hosts_where_they_are_meant_so() -> Tested {
    for (commands, expected) in [
        (
            "ssh web.example.net later@word.example.org",
            &["web.example.net:22"][..],
        ),
        (
            "docker exec a ssh me@web.example.net later@word.example.org",
            &["web.example.net:22"],
        ),
        ("apt-get install ssh && mail me@word.example.org", &[]),
        (
            "rsync -e 'sshpass -p word.x:y ssh' a me@web.example.net:/b",
            &["web.example.net:22"],
        ),
        (
            "rsync -az -e \"sshpass -p word.x:y ssh\" a me@web.example.net:/b",
            &["web.example.net:22"],
        ),
        (
            "sshpass -p word.x@y ssh me@web.example.net",
            &["web.example.net:22"],
        ),
        (
            "rsync --chown me.x:y a web.example.net:/b",
            &["web.example.net:22"],
        ),
        ("scp -rp web.example.net:/a .", &["web.example.net:22"]),
        (
            "scp -P 2222 a web.example.net:/a",
            &["web.example.net:2222"],
        ),
        ("ssh -tp 2222 web.example.net", &["web.example.net:2222"]),
        ("ssh -tp2222 web.example.net", &["web.example.net:2222"]),
        ("ssh -vvA web.example.net ls", &["web.example.net:22"]),
        (
            "ssh -o 'ProxyCommand nc %h word.example.org' -4 web.example.net",
            &["web.example.net:22"],
        ),
        (
            "ssh ssh://me@web.example.net:2222/",
            &["web.example.net:2222"],
        ),
        ("cd x;ssh web.example.net", &["web.example.net:22"]),
        ("cd x&&ssh web.example.net|cat", &["web.example.net:22"]),
        ("A=$(ssh web.example.net cat x)", &["web.example.net:22"]),
        ("ssh $(USER)@web.example.net", &["web.example.net:22"]),
        ("CMD='ssh web.example.net'", &["web.example.net:22"]),
        (
            "ssh web.example.net 'psql -h db.example.net shop'",
            &["db.example.net:5432", "web.example.net:22"],
        ),
        ("# x \\\nssh web.example.net", &["web.example.net:22"]),
        ("true # x \\\nssh web.example.net", &["web.example.net:22"]),
        ("true # ssh me@word.example.org", &[]),
        ("echo 'a; ssh me@word.example.org'", &[]),
        ("ssh \\\nweb.example.net", &["web.example.net:22"]),
        (
            "psql 'host=db.example.net dbname=a'",
            &["db.example.net:5432"],
        ),
        (
            "psql \"postgres://u:p@db.example.net/a\"",
            &["db.example.net:5432"],
        ),
    ] {
        let found = Scene::new()?
            .with("a.sh", format!("{commands}\n"))?
            .look()?;
        let places = found
            .findings
            .iter()
            .map(|one| format!("{}:{}", one.host, one.port));
        let mut places: Vec<_> = places.collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places, expected, "{commands}");
        assert!(found.passed_over.is_empty(), "{commands}: {found:?}");
    }
    Ok(())
}

#[test]
fn what_is_still_to_be_written_is_no_production() -> Tested {
    let hosts = [
        "your-host",
        "your_host",
        "YOUR_HOST",
        "yourhost",
        "db.your-company.com",
        "api.yourdomain.com",
        "example.com",
        "<host>",
        "<your-host>",
        "[HOST]",
        "db.[YOUR-PROJECT-REF].supabase.co",
        "changeme",
        "change-me",
        "CHANGE_ME",
        "replace-me",
        "todo",
        "xxx.supabase.co",
        "x.x.x.x",
        "xxxx",
        "${HOST}",
        "{{ host }}",
        "%s",
    ];
    for host in hosts {
        let found = Scene::new()?
            .with(".env", format!("DB_HOST={host}\nDB_PASSWORD=p\nDATABASE_URL=postgres://u:p@{host}/app\nPROD_URL=https://{host}/\n"))?
            .with("config.sh", format!("ssh prod@{host}\npsql -h {host}\n"))?
            .look()?;
        let none = found
            .findings
            .iter()
            .all(|one| one.label == Label::Placeholder);
        assert!(none, "{host}: {:?}", lines(&found));
        assert!(
            found.passed_over.is_empty(),
            "{host}: {:?}",
            passed_over(&found)
        );
    }
    // Some names only begin so.
    for host in [
        "yourls.example.net",
        "x.example.net",
        "todo.example.net",
        "youropolis.example.net",
    ] {
        let found = Scene::new()?
            .with(".env", format!("DATABASE_URL=postgres://u:p@{host}/app\n"))?
            .look()?;
        assert_eq!(found.findings[0].label, Label::Production, "{host}");
    }
    let keys = "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE\nAWS_REGION=eu-west-1\nHCLOUD_TOKEN=changeme\nGH_TOKEN=xxxxxxxx\nFLY_API_TOKEN=<token-of-yours>\n";
    let found = Scene::new()?.with(".env", keys)?.look()?;
    assert_eq!(lines(&found), Vec::<String>::new());
    assert!(found.keys.is_empty());
    Ok(())
}

const STATE: &str = "{\"resources\": [{\"type\": \"aws_instance\", \"name\": \"web\", \"instances\": [{\"attributes\": {\"public_ip\": \"203.0.113.9\"}}]}]}";

#[test]
fn a_workspace_of_production_makes_production_and_none_makes_it_less() -> Tested {
    for (workspace, variable, label) in [
        ("default", "", "maybe"),
        ("prod", "", "production"),
        ("dev", "", "maybe"),
        ("default", "TF_WORKSPACE=live", "production"),
        ("dev", "#TF_WORKSPACE=live", "maybe"),
    ] {
        let scene = Scene::new()?
            .with("infra/.terraform/environment", workspace)?
            .with("infra/terraform.tfstate.backup", STATE)?
            .with(".env", variable)?;
        let line = format!(
            "{label} 203.0.113.9:22 ssh, aws_instance.web infra/terraform.tfstate.backup:1"
        );
        has(&scene, &[line.as_str()])?;
    }
    // Another directory's says nothing of it.
    let scene = Scene::new()?
        .with("other/.terraform/environment", "prod")?
        .with("terraform.tfstate", STATE)?;
    has(
        &scene,
        &["maybe 203.0.113.9:22 ssh, aws_instance.web terraform.tfstate:1"],
    )
}

#[test]
fn what_is_encrypted_is_no_clean_bill() -> Tested {
    let sealed = [
        (".env.vault", "DOTENV_VAULT_PRODUCTION=\"aHVudGVyMg==\"\n"),
        (
            "deploy/app.sops.yaml",
            "db_password: ENC[AES256_GCM,data:aHVudGVyMg==,type:str]\n",
        ),
        (
            "deploy/secrets.enc.json",
            "{\"db_host\": \"ENC[AES256_GCM,data:aHVudGVyMg==,type:str]\"}",
        ),
        (
            "config/credentials.yml.enc",
            "7U2/A9yb6Yl+ifPW--8mXjGZ2Qn5kP--tQ6+9BvXwJ3rV7hFzLcO8g==\n",
        ),
        (
            "secrets/db.age",
            "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n",
        ),
    ];
    let mut scene = Scene::new()?
        .with(".env", "A_URL=ENC[AES256_GCM,data:aHVudGVyMg==,type:str]\n")?
        .with(".env.production", "B_URL=\"encrypted:aHVudGVyMg==\"\n")?
        .with(".sops.yaml", "creation_rules: []\n")?
        .with("notes.enc.txt", "")?;
    for (name, text) in sealed {
        scene = scene.with(name, text)?;
    }
    let found = scene.look()?;
    let mut expected: Vec<_> = sealed
        .map(|(name, _)| format!("{name}: encrypted"))
        .to_vec();
    for name in [".env", ".env.production"] {
        expected.push(format!("{name}: values that are encrypted"));
    }
    let mut all = passed_over(&found);
    all.sort();
    expected.sort();
    assert_eq!(all, expected);
    Ok(())
}

#[test]
fn where_packages_and_pushes_go() -> Tested {
    let maven = "<settings xsi:schemaLocation=\"http://maven.apache.org/SETTINGS/1.0.0 https://maven.apache.org/xsd/settings-1.0.0.xsd\" \
        xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
        <mirrors><mirror><id>acme</id><url>https://u:word@maven.example.io/a</url></mirror></mirrors></settings>";
    let scene = Scene::new()?
        .with("~/.m2/settings.xml", maven)?
        .with("~/.config/pip/pip.conf", "[global]\nindex-url = https://u:word@pypi.example.io/simple\n")?
        .with("~/.cargo/config.toml", "[registries.acme]\nindex = \"sparse+https://crates.example.io/index/\" # ours\n[net]\n")?
        .with("~/.cargo/credentials.toml", "[registries.acme]\ntoken = \"word\"\n")?
        .with("~/.gitconfig", "[user]\n\tname = a\n[url \"https://u:word@git.example.io/\"]\n\tpushInsteadOf = a:\n[url \"x\"]\n")?
        .with("~/.docker/config.json", "{\"auths\": {\"https://index.docker.io/v1/\": {}, \"registry.example.io:5000\": {\"auth\": \"word\"}}}")?;
    has(
        &scene,
        &[
            "maybe git.example.io:443 git, insteadOf ~/.gitconfig:3",
            "maybe maven.example.io:443 http, url ~/.m2/settings.xml:1",
            "maybe pypi.example.io:443 http, index-url ~/.config/pip/pip.conf:1",
            "maybe registry.example.io:5000 http, auths ~/.docker/config.json:1",
            "tool index.docker.io:443 http, auths ~/.docker/config.json:1",
            "unknown crates.example.io:443 http, acme ~/.cargo/config.toml:1",
        ],
    )?;
    let found = scene.look()?;
    assert_eq!(passed_over(&found), Vec::<String>::new());
    let keys: Vec<_> = found.keys.iter().map(|key| key.what).collect();
    assert_eq!(keys, ["a token of a registry of cargo"]);
    Ok(())
}

#[test]
fn clusters_beside_the_usual_one_and_what_is_used_of_many() -> Tested {
    let cluster = |name: &str, at: u8| {
        format!(
            "clusters: [{{name: a, cluster: {{server: 'https://203.0.113.{at}:6443'}}}}]\ncontexts:\n- {{name: {name}, context: {{cluster: a}}}}\n"
        )
    };
    let context = |name: &str| {
        format!(
            "{{\"Name\": \"{name}\", \"Endpoints\": {{\"docker\": {{\"Host\": \"ssh://me@{name}.example.io\"}}}}}}"
        )
    };
    let scene = Scene::new()?
        .with("~/.kube/shop.yaml", cluster("shop", 1))?
        .with("~/.kube/live.yml", cluster("eu", 2))?
        .with("~/.kube/notes.txt", cluster("none", 3))?
        .with("~/.docker/config.json", "{\"currentContext\": \"used\"}")?
        .with("~/.docker/contexts/meta/a/meta.json", context("used"))?
        .with("~/.docker/contexts/meta/b/meta.json", context("other"))?
        .with("configuration.yaml", "homeassistant:\n  internal_url: \"http://192.168.7.30:8123\"\nrecorder:\n  db_url: mysql://ha:word@db.example.io/ha\n  other: !secret x\n")?
        .with("supabase/.temp/pooler-url", "postgresql://postgres.abcdefghijklmnopqrst:[YOUR-PASSWORD]@aws-0-eu-central-1.pooler.supabase.com:6543/postgres\n")?
        .with("app.yaml", "runtime: go\nenv_variables:\n  A_URL: postgres://u:word@pg.example.io/a\n")?
        .with("prod.tf.json", "{\"provider\": {\"postgresql\": {\"host\": \"tf.example.io\", \"password\": \"word\"}}}")?
        .with("prod.tfbackend", "bucket = \"state\"\nregion = \"eu-west-1\"\n")?;
    has(
        &scene,
        &[
            "maybe 192.168.7.30:8123 home-assistant, internal_url configuration.yaml:2",
            "maybe 203.0.113.1:6443 kubernetes, shop ~/.kube/shop.yaml:3",
            "maybe aws-0-eu-central-1.pooler.supabase.com:6543 postgres, pooler-url supabase/.temp/pooler-url:1",
            "maybe other.example.io:22 docker, other ~/.docker/contexts/meta/b/meta.json:1",
            "production 203.0.113.2:6443 kubernetes, eu ~/.kube/live.yml:3",
            "production db.example.io:3306 mysql, db_url configuration.yaml:4",
            "production pg.example.io:5432 postgres, env_variables.A_URL app.yaml:3",
            "production s3.eu-west-1.amazonaws.com:443 s3, backend.s3 prod.tfbackend:1",
            "production tf.example.io:5432 postgres, provider.postgresql.host prod.tf.json:1",
            "production used.example.io:22 docker, used ~/.docker/contexts/meta/a/meta.json:1",
        ],
    )
}

/// A kubeconfig of one context, which is none of production by itself.
fn kubeconfig(cluster: &str, context: &str, at: u8) -> String {
    format!(
        "clusters: [{{name: '{cluster}', cluster: {{server: 'https://203.0.113.{at}:6443'}}}}]\ncontexts:\n- {{name: '{context}', context: {{cluster: '{cluster}'}}}}\n"
    )
}

#[test]
fn where_a_person_has_k9s_change_nothing_is_production() -> Tested {
    let arn = "arn:aws:eks:eu-west-1:1:cluster/shop";
    let dirs = "arn-aws-eks-eu-west-1-1-cluster-shop";
    let arns = format!("{dirs}/{dirs}");
    for (cluster, context, at, says, label) in [
        (
            "a",
            "shop",
            ".local/share/k9s/clusters/a/shop",
            "true",
            "production",
        ),
        (
            "a",
            "shop",
            ".config/k9s/clusters/a/shop",
            "yes",
            "production",
        ),
        (
            arn,
            arn,
            &*format!(".local/share/k9s/clusters/{arns}"),
            "true",
            "production",
        ),
        // Names disagree.
        (
            "a",
            "dev",
            ".local/share/k9s/clusters/a/dev",
            "true",
            "maybe",
        ),
        (
            "a",
            "shop",
            ".local/share/k9s/clusters/a/shop",
            "false",
            "maybe",
        ),
        // Another context's, and another cluster's.
        (
            "a",
            "shop",
            ".local/share/k9s/clusters/a/shop2",
            "true",
            "maybe",
        ),
        (
            "a",
            "shop",
            ".local/share/k9s/clusters/b/shop",
            "true",
            "maybe",
        ),
    ] {
        let text = format!("k9s:\n  cluster: x\n  readOnly: {says}\n");
        let scene = Scene::new()?
            .with("~/.kube/config", kubeconfig(cluster, context, 1))?
            .with(&format!("~/{at}/config.yaml"), text)?;
        let found = scene.look()?;
        let labels: Vec<_> = found
            .findings
            .iter()
            .map(|one| one.label.as_str())
            .collect();
        assert_eq!(
            labels,
            [label],
            "{context} {at} {says}: {:?}",
            lines(&found)
        );
        assert_eq!(passed_over(&found), Vec::<String>::new());
    }
    let scene = Scene::new()?
        .with("~/.kube/config", kubeconfig("a", "shop", 1))?
        .with(
            "~/.local/share/k9s/clusters/a/shop/config.yaml",
            "k9s:\n  readOnly: true\n",
        )?;
    let line = "production 203.0.113.1:6443 kubernetes, shop ~/.local/share/k9s/clusters/a/shop/config.yaml:2, shop ~/.kube/config:3";
    has(&scene, &[line])?;
    let found = scene.look()?;
    let because: Vec<_> = found.findings[0]
        .because
        .iter()
        .map(|one| one.text.as_str())
        .collect();
    assert_eq!(because[0], "\"readOnly\" in k9s");
    // Where a variable says that it keeps them.
    let mut scene = Scene::new()?
        .with("~/.kube/config", kubeconfig("a", "shop", 1))?
        .with(
            "~/own/clusters/a/shop/config.yaml",
            "k9s:\n  readOnly: true\n",
        )?;
    assert_eq!(scene.look()?.findings[0].label, Label::Maybe);
    let own = scene.home.path().join("own").display().to_string();
    scene.environment.push(("K9S_CONFIG_DIR".to_owned(), own));
    assert_eq!(scene.look()?.findings[0].label, Label::Production);
    // A project's context of the same name makes no place of the home's.
    let scene = Scene::new()?
        .with("kubeconfig", kubeconfig("a", "shop", 2))?
        .with(
            "~/.local/share/k9s/clusters/a/shop/config.yaml",
            "k9s:\n  readOnly: true\n",
        )?;
    let found = scene.look()?;
    assert_eq!(found.findings[0].label, Label::Production);
    assert!(found.findings[0].found.iter().all(|seen| seen.is_projects));
    Ok(())
}

#[test]
fn settings_of_k9s_that_cannot_be_read_are_said() -> Tested {
    let at = "~/.local/share/k9s/clusters/a/shop/config.yaml";
    for (text, expected) in [
        ("k9s: {", "unreadable YAML"),
        ("k9s:\n  readOnly: perhaps\n", "an unreadable readOnly"),
        ("k9s:\n  readOnly: {}\n", "an unreadable readOnly"),
    ] {
        let scene = Scene::new()?
            .with("~/.kube/config", kubeconfig("a", "shop", 1))?
            .with(at, text)?;
        let found = scene.look()?;
        let said = passed_over(&found);
        assert!(
            said.len() == 1 && said[0].ends_with(expected),
            "{text}: {said:?}"
        );
        assert_eq!(found.findings[0].label, Label::Maybe);
    }
    Ok(())
}

/// Which lead somewhere, and what a page for people says beside.
const PAGE: &str = "\
# Shop

See <https://docs.example.com>, and don't ask ann@example.com. Clone ssh://git@git.example.com/shop.

Log in by `ssh deploy@web1.example.net`, look with ``psql -h db1.example.net shop``,
or open [the cache](rediss://:word@cache.example.net).

1. Then:

       kubectl --context shop get pods

> ```sh
> $ mysql -h db2.example.net shop
> # mongosh -h db3.example.net
> ```

psql -h db4.example.net is what it was once.
";

#[test]
fn what_is_written_for_people_is_read_where_that_is_wanted() -> Tested {
    let scene = Scene::new()?
        .with("~/.kube/config", kubeconfig("a", "shop", 1))?
        .with("README.md", PAGE)?
        .with("docs/prod/more.MD", "`redis-cli -h cache2.example.net`\n")?
        .with("node_modules/a/README.md", "`psql -h db5.example.net`\n")?;
    let context = "maybe 203.0.113.1:6443 kubernetes, shop ~/.kube/config:3";
    has(&scene, &[context])?;
    let found = scene.look()?;
    assert_eq!((passed_over(&found), found.project_files), (Vec::new(), 0));
    let found = scene.look_within(DEEP)?;
    assert_eq!((passed_over(&found), found.project_files), (Vec::new(), 2));
    let hosts: BTreeSet<_> = found
        .findings
        .iter()
        .map(|one| {
            let lines = one.found.iter().map(|seen| (&*seen.file, seen.line));
            (one.host.as_str(), lines.collect::<Vec<_>>())
        })
        .collect();
    let page = |line| ("README.md", Some(line));
    let expected = [
        ("203.0.113.1", vec![("~/.kube/config", Some(3)), page(10)]),
        ("cache.example.net", vec![page(6)]),
        ("cache2.example.net", vec![("docs/prod/more.MD", Some(1))]),
        ("db1.example.net", vec![page(5)]),
        ("db2.example.net", vec![page(13)]),
        ("web1.example.net", vec![page(5)]),
    ];
    assert_eq!(hosts, BTreeSet::from(expected));
    Ok(())
}

#[test]
fn many_pages_take_no_other_files_place() -> Tested {
    let mut scene = Scene::new()?.with("a/b/c/.env", "A=redis://:p@cache.example.net\n")?;
    for number in 0..6 {
        scene = scene.with(&format!("{number}.md"), "# A\n")?;
    }
    let bounds = Bounds { files: 4, ..DEEP };
    let found = scene.look_within(bounds)?;
    assert_eq!((found.findings.len(), found.project_files), (1, 4));
    assert_eq!(passed_over(&found), [".: more files than are read"]);
    let found = scene.look_within(Bounds {
        deep: false,
        ..bounds
    })?;
    assert_eq!((found.project_files, passed_over(&found)), (1, Vec::new()));
    Ok(())
}

#[test]
fn strictly_what_nothing_here_needs_is_denied_and_nothing_else() -> Tested {
    let scene = Scene::new()?
        .with(
            ".env",
            "A_URL=postgres://u:word@db.example.net/a\n#A_URL=postgres://u:word@old.example.net/a\n#B_URL=postgres://u:word@pool-1.eu-central-1.aws.neon.tech/a\n#C_URL=postgres://u:word@twice.example.net/a\n",
        )?
        .with("infra/.env", "C_URL=postgres://u:word@twice.example.net/a\n")?
        .with("~/.railway/config.json", "{\"token\": \"hunter2hunter2\"}")?
        .with("~/.fly/config.yml", "access_token: hunter2hunter2\n")?
        .with("fly.toml", "app = 'shop'\n")?
        .with("~/.config/gcloud/application_default_credentials.json", "{\"refresh_token\": \"hunter2hunter2\"}")?;
    let mut found = scene.look()?;
    let denied = |found: &Discovery| -> Vec<String> {
        let all = found.findings.iter();
        let all = all.filter(|one| one.proposed.is_some_and(|rule| rule.action == "deny"));
        let mut hosts: Vec<_> = all.map(|one| one.host.to_string()).collect();
        hosts.sort();
        hosts
    };
    let proposed = |found: &Discovery| {
        found
            .findings
            .iter()
            .filter(|one| one.proposed.is_some())
            .count()
    };
    assert_eq!(
        (denied(&found), proposed(&found)),
        (Vec::new(), 7),
        "{:?}",
        lines(&found)
    );
    found.be_strict();
    assert_eq!(denied(&found), ["backboard.railway.com", "old.example.net"]);
    assert_eq!(proposed(&found), 7);
    Ok(())
}

/// The line that is needed may be in what was not read.
#[test]
fn strictly_nothing_is_denied_where_not_all_was_read() -> Tested {
    let commented = "#A_URL=postgres://u:word@old.example.net/a\n";
    let mut scene = Scene::new()?.with(".env", commented)?;
    for number in 0..5 {
        scene = scene.with(&format!("{number}/.env"), "A=1\n")?;
    }
    let proposed = |scene: &Scene, files: usize| -> Tested<_> {
        let mut found = scene.look_within(Bounds {
            files,
            ..WITHOUT_END
        })?;
        found.be_strict();
        let places = found.findings.iter();
        let actions = places.map(|one| (one.found.len(), one.proposed.map(|rule| rule.action)));
        Ok((actions.collect::<Vec<_>>(), passed_over(&found)))
    };
    let more = || vec![".: more files than are read".to_owned()];
    assert_eq!(proposed(&scene, 6)?, (vec![(1, Some("deny"))], Vec::new()));
    let asked = || vec![(1, Some("read-only"))];
    assert_eq!(proposed(&scene, 4)?, (asked(), more()));
    let scene = scene.with("a/b/.env", commented.trim_start_matches('#'))?;
    assert_eq!(proposed(&scene, 6)?, (asked(), more()));
    assert_eq!(
        proposed(&scene, 7)?,
        (vec![(2, Some("read-only"))], Vec::new())
    );
    Ok(())
}
