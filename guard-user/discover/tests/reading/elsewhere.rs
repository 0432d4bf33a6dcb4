//! What leads to a network, a platform or many machines at once: clients' files of VPNs, links of a project, inventories, charts.

use proptest::prelude::*;

use super::formats::has;
use super::hostile::plain_in_all;
use super::*;

const WIREGUARD: &str = "\
[Interface]
PrivateKey = d29yZA==
Address = 10.6.0.2/32
PostUp = curl https://hook.example.net
[Peer]
PublicKey = d29yZA==
PresharedKey = d29yZA==
Endpoint = vpn.example.net:51820 # at work
AllowedIPs = 10.20.0.0/16, 10.20.3.0/24
AllowedIPs = fd00:20::/48
[Peer]
Endpoint = [2001:db8::9]:4500
AllowedIPs = 0.0.0.0/0
";

const OPENVPN: &str = "\
client
dev tun
proto tcp
remote vpn1.example.net
remote vpn2.example.net 443 udp
route 10.30.0.0 255.255.0.0
route 198.51.100.7
route vpn_gateway 255.255.255.255
route-ipv6 2001:db8:30::/48
redirect-gateway def1
<key>
route 10.99.0.0 255.255.0.0
</key>
<connection>
remote vpn3.example.net 1195
</connection>
";

#[test]
fn files_of_vpns() -> Tested {
    has(
        &Scene::new()?
            .with("~/.config/wireguard/work.conf", WIREGUARD)?
            .with("deploy/prod.ovpn", OPENVPN)?
            .with("~/Downloads/nginx.conf", "server { listen 80; }\n")?
            .with(
                "wg-dev.conf",
                "[Interface]\nPrivateKey = a\n[Peer]\nAllowedIPs = 10.40.0.0/16\n",
            )?,
        &[
            "maybe vpn.example.net:51820 vpn, endpoint ~/.config/wireguard/work.conf:5",
            "maybe 2001:db8::9:4500 vpn, endpoint ~/.config/wireguard/work.conf:11",
            "maybe fd00:20::/48:0 network, peer ~/.config/wireguard/work.conf:5",
            "maybe 10.20.0.0/16:0 network, peer ~/.config/wireguard/work.conf:5",
            "production vpn1.example.net:1194 vpn, endpoint deploy/prod.ovpn:4",
            "production vpn2.example.net:443 vpn, endpoint deploy/prod.ovpn:5",
            "production vpn3.example.net:1195 vpn, endpoint deploy/prod.ovpn:15",
            "production 10.30.0.0/16:0 network, route deploy/prod.ovpn:6",
            "production 198.51.100.7:0 network, route deploy/prod.ovpn:7",
            "production 2001:db8:30::/48:0 network, route deploy/prod.ovpn:9",
            "dev 10.40.0.0/16:0 network, peer wg-dev.conf:3",
        ],
    )?;
    let found = Scene::new()?
        .with(
            "a.ovpn",
            "client\nremote vpn.example.net\nroute a b\n<key>\nremote x\n",
        )?
        .with(
            "wg0.conf",
            "[Interface]\n[Peer]\nAllowedIPs = 10.0.0.0/40\nEndpoint = word@a\n",
        )?
        .look()?;
    assert_eq!(
        passed_over(&found),
        [
            "a.ovpn:3: an unreadable network",
            "a.ovpn: a key without an end, and what is behind it",
            "wg0.conf:2: an unreadable host",
            "wg0.conf:2: an unreadable network",
        ]
    );
    let transports = |host: &str| -> Vec<_> {
        let found = found
            .findings
            .iter()
            .filter(|one| one.host.as_str() == host);
        found.map(|one| one.service.ports(one.port)).collect()
    };
    assert_eq!(transports("vpn.example.net"), [Some("udp/1194".to_owned())]);
    Ok(())
}

/// What a project says of each platform.
const LINKS: [(&str, &str); 16] = [
    (".firebaserc", "{\"projects\": {\n\"live\": \"shop-live\"}}"),
    (
        "Pulumi.prod.yaml",
        "config:\n  aws:region: eu-west-1\n  gcp:project: shop\n  shop:key: {secure: word}\n",
    ),
    ("Procfile", "web: bin/web\n"),
    ("app.json", "{\"name\": \"shop\", \"addons\": []}"),
    ("expo/app.json", "{\"expo\": {\"name\": \"shop\"}}"),
    (
        "fly.toml",
        "# fly\napp = 'shop-prod' # so\n[env]\nTOKEN = \"word\"\n",
    ),
    ("netlify.toml", "[build]\n"),
    ("railway.json", "{}"),
    ("render.yaml", "services:\n- {type: web, name: web-prod}\n"),
    (
        "samconfig.toml",
        "[prod.deploy.parameters]\nstack_name = \"shop\"\nregion = \"eu-west-2\"\n",
    ),
    (
        "serverless.yml",
        "provider:\n  name: aws\n  region: eu-west-3\n  stage: prod\n",
    ),
    ("supabase/config.toml", "project_id = \"shop\"\n"),
    ("sub/serverless.yml", "provider: {name: google}\n"),
    (
        "wrangler.toml",
        "name = \"shop\"\n[env.production]\nvars = { TOKEN = \"word\" }\n[env.production.vars]\nA = \"\"\"\n[env.no]\n\"\"\"\n",
    ),
    (
        "sub/wrangler.jsonc",
        "{// so\n\"name\": \"shop\",\n\"env\": {\n\"production\": {}}}",
    ),
    (
        ".git/config",
        "[remote \"origin\"]\nurl = https://git.example.net/shop.git\n",
    ),
];

/// What opens them.
const LOGINS: [&str; 12] = [
    "CLOUDFLARE_API_TOKEN=0123456789",
    "FLY_API_TOKEN=0123456789",
    "HEROKU_API_KEY=0123456789",
    "NETLIFY_AUTH_TOKEN=0123456789",
    "PULUMI_ACCESS_TOKEN=0123456789",
    "RAILWAY_TOKEN=0123456789",
    "RENDER_API_KEY=0123456789",
    "SUPABASE_ACCESS_TOKEN=0123456789",
    "VERCEL_TOKEN=0123456789",
    "AWS_ACCESS_KEY_ID=0123456789",
    "AWS_REGION=us-east-1",
    "OTHER=1",
];

fn linked() -> Tested<Scene> {
    let mut scene = Scene::new()?;
    for (path, text) in LINKS {
        scene = scene.with(path, text)?;
    }
    Ok(scene)
}

#[test]
fn what_a_project_is_linked_to_counts_with_a_login() -> Tested {
    // Whoever has the project has these, and nobody is logged in.
    has(
        &linked()?,
        &["unknown git.example.net:443 git, origin .git/config:1"],
    )?;
    let mut scene = linked()?
        .with(
            "~/.config/configstore/firebase-tools.json",
            "{\"tokens\": {\"refresh_token\": \"p\"}}",
        )?
        .with(
            "~/.config/gcloud/application_default_credentials.json",
            "{\"type\": \"external_account\", \"token_url\": \"https://sts.googleapis.com/v1/token\"}",
        )?;
    scene.environment = LOGINS
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    has(
        &scene,
        &[
            "production api.cloudflare.com:443 platform, production wrangler.toml:2, production sub/wrangler.jsonc:4, CLOUDFLARE_API_TOKEN the environment, name wrangler.toml:1, name sub/wrangler.jsonc:1",
            "production api.heroku.com:443 platform, HEROKU_API_KEY the environment, app Procfile:1, app app.json:1",
            "production api.machines.dev:443 platform, app fly.toml:2, FLY_API_TOKEN the environment",
            "production api.netlify.com:443 platform, NETLIFY_AUTH_TOKEN the environment, site netlify.toml:1",
            "production api.pulumi.com:443 platform, stack Pulumi.prod.yaml:1, PULUMI_ACCESS_TOKEN the environment",
            "production api.render.com:443 platform, web-prod render.yaml:2, RENDER_API_KEY the environment",
            "production api.supabase.com:443 platform, SUPABASE_ACCESS_TOKEN the environment, project_id supabase/config.toml:1",
            "production api.vercel.com:443 platform, VERCEL_TOKEN the environment",
            "production backboard.railway.com:443 platform, RAILWAY_TOKEN the environment, project railway.json:1",
            "production cloudresourcemanager.googleapis.com:443 platform, live .firebaserc:2, project Pulumi.prod.yaml:3, token ~/.config/configstore/firebase-tools.json, token ~/.config/gcloud/application_default_credentials.json, provider sub/serverless.yml:1",
            "production sts.amazonaws.com:443 platform, prod samconfig.toml:3, region Pulumi.prod.yaml:2, provider serverless.yml:2, AWS_ACCESS_KEY_ID the environment",
            "unknown git.example.net:443 git, origin .git/config:1",
        ],
    )
}

#[test]
fn what_was_linked_on_this_machine_counts_without_a_login() -> Tested {
    let scene = Scene::new()?
        .with(
            ".vercel/project.json",
            "{\"projectId\": \"p\", \"orgId\": \"o\", \"projectName\": \"shop\"}",
        )?
        .with(".netlify/state.json", "{\"siteId\": \"s\"}")?
        .with("supabase/.temp/project-ref", "abcdefghijklmnopqrst\n")?
        .with(
            ".git/config",
            "[remote \"heroku\"]\nurl = https://git.heroku.com/shop.git\n",
        )?;
    has(
        &scene,
        &[
            "maybe api.heroku.com:443 platform, heroku .git/config:1",
            "maybe api.netlify.com:443 platform, site .netlify/state.json:1",
            "maybe api.supabase.com:443 platform, project-ref supabase/.temp/project-ref:1",
            "maybe api.vercel.com:443 platform, project .vercel/project.json:1",
            "maybe db.abcdefghijklmnopqrst.supabase.co:5432 postgres, project-ref supabase/.temp/project-ref:1",
            "unknown git.heroku.com:443 git, heroku .git/config:1",
        ],
    )
}

#[test]
fn inventories_of_ansible() -> Tested {
    let ini = "\
lonely.example.com
[web]
web1 ansible_host=203.0.113.4 ansible_port=2222 ansible_password='a b ansible_host=x'
web[2:3].example.com
here ansible_connection=local
[db]
db1:2200 # so
[production:children]
web
[web:vars]
database_url=postgres://a:word@db.example.net/app
";
    let yaml = "\
all:
  children:
    staging:
      children:
        app:
          hosts:
            app1: {ansible_host: 203.0.113.5, ansible_port: 2022}
            app2.example.com:
          vars: {redis_host: cache.example.net}
";
    let scene = Scene::new()?
        .with("ansible/hosts", ini)?
        .with("inventories/all.yml", yaml)?
        .with(
            "inventories/group_vars/live.yml",
            "url: https://api.example.net\n",
        )?
        .with(
            "inventories/host_vars/prod9.yml",
            "ansible_host: 203.0.113.9\n",
        )?
        .with(
            "inventories/group_vars/vault.yml",
            "$ANSIBLE_VAULT;1.1;AES256\n6162\n",
        )?
        .with("etc/hosts", "203.0.113.1 a.example.net\n")?
        .with(
            "deploy/ansible.cfg",
            "[defaults]\ninventory = ./where/prod, ../more, /etc/ansible/hosts\n",
        )?
        .with("deploy/where/prod", "[web]\nnamed.example.com\n")?
        .with("more/one.ini", "[web]\nlisted.example.com\n")?
        .with("more/script", "#!/bin/sh\necho [web]\n")?;
    has(
        &scene,
        &[
            "maybe lonely.example.com:22 ssh, lonely.example.com ansible/hosts:1",
            "production 203.0.113.4:2222 ssh, web1 ansible/hosts:3",
            "production web2.example.com:22 ssh, web2.example.com ansible/hosts:4",
            "production web3.example.com:22 ssh, web3.example.com ansible/hosts:4",
            "maybe db1:2200 ssh, db1 ansible/hosts:7",
            "production db.example.net:5432 postgres, database_url ansible/hosts:11",
            "staging 203.0.113.5:2022 ssh, app1 inventories/all.yml:7",
            "staging app2.example.com:22 ssh, app2.example.com inventories/all.yml:8",
            "staging cache.example.net:6379 redis, redis_host inventories/all.yml:9",
            "production api.example.net:443 http, url inventories/group_vars/live.yml:1",
            "production 203.0.113.9:22 ssh, ansible_host inventories/host_vars/prod9.yml:1",
            "production named.example.com:22 ssh, named.example.com deploy/where/prod:2",
            "maybe listed.example.com:22 ssh, listed.example.com more/one.ini:2",
        ],
    )?;
    assert_eq!(
        passed_over(&scene.look()?),
        [
            "inventories/group_vars/vault.yml: encrypted",
            "deploy/ansible.cfg: an inventory outside of the project",
            "more/script: a program, which is not run",
        ]
    );
    Ok(())
}

#[test]
fn what_is_put_into_clusters() -> Tested {
    let values = "\
externalDatabase: {host: pg.example.net, port: 5433, password: word}
redis: {host: cache}
env:
- {name: QUEUE_URL, value: 'amqp://a:word@queue.example.net'}
ingress:
  hosts:
  - {host: shop.example.net, paths: [/]}
";
    let manifest = "\
kind: ConfigMap
metadata: {namespace: shop-prod}
data: {DATABASE_URL: 'postgres://a:word@db.example.net/app', CACHE_URL: 'redis://cache.shop.svc.cluster.local'}
---
kind: Deployment
spec: {template: {spec: {containers: [{name: a, env: [{name: MONGO_URL, value: 'mongodb://a:word@mongo.example.net'}]}]}}}
---
kind: Service
metadata: {name: mysql}
spec: {type: ExternalName, externalName: my.example.net}
---
kind: Ingress
metadata: {name: shop}
spec: {rules: [{host: '*.shop.example.org'}]}
---
kind: Secret
data: {a: d29yZA==}
stringData: {SEARCH_URL: 'elasticsearch://a:word@es.example.net'}
---
kind: Application
metadata: {name: shop-prod}
spec: {destination: {server: 'https://argo.example.net:6443', namespace: shop}}
";
    let scene = Scene::new()?
        .with("chart/values-prod.yaml", values)?
        .with("chart/templates/a.yaml", "{{ if }}\n")?
        .with("deploy/overlays/eu/a.yaml", manifest)?
        .with(
            "deploy/overlays/eu/kustomization.yaml",
            "configMapGenerator:\n- name: a\n  literals: ['API_URL=https://api.example.net']\n",
        )?;
    has(
        &scene,
        &[
            "production pg.example.net:5433 database, externalDatabase.host chart/values-prod.yaml:1",
            "local cache:6379 redis, redis.host chart/values-prod.yaml:2",
            "production queue.example.net:5672 amqp, QUEUE_URL chart/values-prod.yaml:4",
            "production shop.example.net:443 http, ingress.hosts.host chart/values-prod.yaml:7",
            "production db.example.net:5432 postgres, DATABASE_URL deploy/overlays/eu/a.yaml:3",
            "local cache.shop.svc.cluster.local:6379 redis, CACHE_URL deploy/overlays/eu/a.yaml:3",
            "production mongo.example.net:27017 mongodb, MONGO_URL deploy/overlays/eu/a.yaml:6",
            "production argo.example.net:6443 kubernetes, shop-prod deploy/overlays/eu/a.yaml:22",
            "maybe my.example.net:3306 mysql, mysql deploy/overlays/eu/a.yaml:10",
            "unknown shop.example.org:443 http, shop deploy/overlays/eu/a.yaml:14",
            "production es.example.net:9200 elasticsearch, SEARCH_URL deploy/overlays/eu/a.yaml:18",
            "maybe api.example.net:443 http, API_URL deploy/overlays/eu/kustomization.yaml:3",
        ],
    )?;
    assert_eq!(
        passed_over(&scene.look()?),
        ["deploy/overlays/eu/a.yaml:17: a Secret's values, in base64"]
    );
    Ok(())
}

#[test]
fn files_of_hostile_length_and_depth_are_read_so_far_and_said() -> Tested {
    let lines = |line: &str| line.repeat(1_000_000);
    let nested = |step: &str| -> String {
        (0..200)
            .map(|level| format!("{}{step}:\n", "  ".repeat(level)))
            .collect()
    };
    let chain: String = (0..100)
        .map(|at| format!("[g{at}:children]\ng{}\n", at + 1))
        .collect();
    let found = Scene::new()?
        .with(
            "a.ovpn",
            format!(
                "client\nremote a.example.net\n{}",
                lines("route 10.0.0.1\n")
            ),
        )?
        .with(
            "wg0.conf",
            format!("[Interface]\n[Peer]\n{}", lines("AllowedIPs=10.0.0.1\n")),
        )?
        .with("fly.toml", lines("app = 'a'\n"))?
        .with("wrangler.jsonc", "{\"a\":".repeat(100_000))?
        .with("render.yaml", "[".repeat(100_000))?
        .with("hosts", lines("[a]\nb\n"))?
        .with("chain/hosts", format!("[prod:children]\ng0\n{chain}"))?
        .with("range/hosts", "[a]\nweb[1:1000000000][1:1000000000][a:z]\n")?
        .with("inventories/a.yml", nested("children"))?
        .with("k8s/a.yaml", nested("spec"))?
        .with("values.yaml", nested("a"))?
        .look()?;
    let all = passed_over(&found);
    for expected in [
        "a.ovpn: too long: the rest of it",
        "wg0.conf: too long: the rest of it",
        "fly.toml: too long: the rest of it",
        "wrangler.jsonc: too long",
        "render.yaml: unreadable YAML",
        "hosts: too long: the rest of it",
        "chain/hosts: too deep",
        "range/hosts:2: more hosts than are read",
        "k8s/a.yaml: too deep",
        "values.yaml: too deep",
    ] {
        assert!(
            all.iter().any(|line| line == expected),
            "{expected}: {all:?}"
        );
    }
    assert!(
        found
            .passed_over
            .iter()
            .any(|one| one.file == "inventories/a.yml" && one.why == "too deep")
    );
    Ok(())
}

/// What makes readers go further than noise does.
const PIECES: &str = "(client\n|remote |route |255\\.0\\.0\\.0|<key>\n|</key>\n|\\[Interface\\]\n|\\[Peer\\]\n|Endpoint = |AllowedIPs = |10\\.0\\.0\\.0|/|\
    \\{\"projects\": |\"env\": |\"name\": |\\{|\\}|app = |\"|'|\"\"\"|\\[env\\.a\\]\n|region = |provider:\n|services:\n|config:\n|aws:region: |\
    \\[a\\]\n|\\[a:children\\]\n|\\[a:vars\\]\n|\\[|\\]|ansible_host=|ansible_host: |inventory = |\\[defaults\\]\n|\\.\\./|all:\n|hosts:\n|children:\n|vars:\n|\
    ingress:\n|host: |kind: ConfigMap\n|data:\n|env:\n|- name: |value: |literals:\n|postgres://|@|:|,|#|- |\n|  |[a-z]{1,4}|[0-9]{1,5}|\\\\|\u{1b}|é){0,40}";

proptest! {
    #![proptest_config(rounds(24))]

    #[test]
    fn no_reader_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), text in PIECES) {
        for content in [&bytes[..], text.as_bytes()] {
            plain_in_all(&secrets::everywhere(content).unwrap().look().unwrap())?;
        }
    }

    /// What a project says of its links and hosts makes what opens them no less.
    #[test]
    fn links_make_nothing_less(words in prop::collection::vec("dev|test|staging|local|prod|shop", 4)) {
        let login = |scene: Scene| scene.with("~/.fly/config.yml", "access_token: word\n").unwrap();
        let alone = login(Scene::new().unwrap()).look().unwrap();
        let [a, b, c, d] = &words[..] else { return Ok(()) };
        let scene = login(Scene::new().unwrap())
            .with("fly.toml", format!("app = \"{a}\"\n")).unwrap()
            .with(&format!("{b}/fly.toml"), format!("app = \"{c}\"\n")).unwrap()
            .with("hosts", format!("[{d}]\napi.machines.dev\n")).unwrap();
        let all = scene.look().unwrap();
        let same = |other: &&Finding| (&other.host, other.port) == (&alone.findings[0].host, 443);
        let found = all.findings.iter().find(same);
        prop_assert!(found.is_some_and(|one| one.label == Label::Production && one.proposed == alone.findings[0].proposed));
    }
}
