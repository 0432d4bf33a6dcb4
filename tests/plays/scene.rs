//! Plays a scene, and compares what comes with what is expected.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use guard_lab::{
    AGENT, Attempt, Json as _, Production, STRANGER, Scene, Shell, Tested, Watcher, eventually,
};
use serde_json::{Value, json};

use crate::script::{Play, Step};

/// A scene while it is played. Fields are dropped in this order.
struct Stage {
    shells: BTreeMap<String, Shell>,
    watcher: Option<Watcher>,
    production: Option<Production>,
    scene: Scene,
    names: BTreeMap<String, String>,
    /// Bytes of the audit log before this scene.
    before: usize,
}

/// Result of a step.
struct Came {
    /// Exit status, or `ok` or the error of an attempt.
    end: String,
    out: String,
    err: String,
}

/// Plays a scene with a guardd that there may be, and returns the guardd for the next one.
pub(crate) fn play(play: &Play, shared: Option<Scene>) -> Result<Option<Scene>> {
    let (shared, kept) = if play.is_alone {
        (None, shared)
    } else {
        (shared, None)
    };
    let scene = match shared {
        Some(scene) => scene,
        None => Scene::with(|daemon| daemon.config(&play.config))?,
    };
    let before = fs::read(scene.daemon.audit())?.len();
    let mut names = BTreeMap::new();
    for program in ["guard", "guard-lab"] {
        let path = scene.daemon.program(program)?.display().to_string();
        names.insert(program.to_owned(), path);
    }
    names.insert("dir".into(), scene.daemon.dir().display().to_string());
    names.insert(
        "policies".into(),
        scene.daemon.policy_dir().display().to_string(),
    );
    let mut stage = Stage {
        shells: BTreeMap::new(),
        watcher: None,
        production: None,
        scene,
        names,
        before,
    };
    stage.all(&play.steps)?;
    let Stage { shells, scene, .. } = stage;
    if play.is_alone {
        return Ok(kept);
    }
    drop(shells);
    for session in scene.daemon.list(["sessions"])? {
        scene.daemon.ask(["stop", session["id"].text()?])?;
    }
    eventually("nothing of the scene is left", || -> Tested<_> {
        let mut left = Vec::new();
        for list in ["sessions", "pending", "holes"] {
            left.extend(scene.daemon.list([list])?);
        }
        Ok(left.is_empty())
    })?;
    Ok(Some(scene))
}

impl Stage {
    fn all(&mut self, steps: &[Step]) -> Result<()> {
        let mut at = 0;
        while let Some(step) = steps.get(at) {
            at += 1;
            let Some(columns) = step.text.strip_prefix("each ") else {
                self.step(step).with_context(|| step.at.clone())?;
                continue;
            };
            let rest = &steps[at..];
            let end = rest.iter().position(|step| step.text == "done");
            let end = end.unwrap_or(rest.len());
            for (at, row) in &step.block {
                let values: Vec<_> = row
                    .split('|')
                    .map(|value| self.fill(value.trim()))
                    .collect();
                let columns: Vec<_> = columns.split('|').map(str::trim).collect();
                ensure!(
                    values.len() == columns.len(),
                    "{at}: columns are {columns:?}"
                );
                let row = columns.into_iter().map(str::to_owned).zip(values);
                self.names.extend(row);
                self.all(&rest[..end])
                    .with_context(|| format!("row {at}"))?;
            }
            at += end + 1;
        }
        Ok(())
    }

    /// Puts values in place of names: the longest that fits.
    fn fill(&self, text: &str) -> String {
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        names.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("${name}"), value)
        })
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let text = self.fill(&step.text);
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match verb {
            "session" => {
                let (name, policy) = rest.split_once(' ').context("session NAME POLICY")?;
                let args = ["run", "--policy"]
                    .map(str::to_owned)
                    .into_iter()
                    .chain(words(policy));
                let shell = Shell::run_by(&self.scene.daemon, self.scene.daemon.agent(args))?;
                self.names.insert(name.into(), shell.session().into());
                self.shells.insert(name.into(), shell);
            }
            "policy" => drop(self.scene.daemon.write_policy(rest, &step.below())?),
            "file" => fs::write(self.scene.daemon.dir().join(rest), self.fill(&step.below()))?,
            "production" => self.production = Some(self.scene.production()?),
            "watch" => self.watcher = Some(self.scene.watcher()?),
            "guardd" => match rest {
                "kill" => drop(self.scene.daemon.kill()?),
                "stop" => drop(self.scene.daemon.stop()?),
                "start" => self.scene.daemon.start()?,
                _ => bail!("guardd kill, stop or start"),
            },
            "until" => {
                let mut why = None;
                let waited = eventually("this comes", || -> Tested<_> {
                    why = self.look(rest, step).err();
                    Ok(why.is_none())
                });
                // The last problem says more than that time is over.
                waited.map_err(|late| why.unwrap_or(late))?;
            }
            _ => self.look(&text, step)?,
        }
        Ok(())
    }

    /// Does something once, and compares.
    fn look(&mut self, text: &str, step: &Step) -> Result<()> {
        let (act, end) = match text.rsplit_once(" => ") {
            Some((act, end)) => (act, end),
            None => (text, "done"),
        };
        let is_json = step.block.iter().any(|(_, check)| check.starts_with('.'));
        let came = self.came(act, is_json)?;
        let told = || {
            format!(
                "{act}\nended: {}\nout: {}\nerr: {}",
                came.end, came.out, came.err
            )
        };
        let is_ended = match end {
            "done" => ["0", "ok"].contains(&&*came.end),
            "no" => came.end != "ok",
            end => end == came.end,
        };
        ensure!(
            is_ended,
            "expected end: {end}\ncame: {}\n{}",
            came.end,
            told()
        );
        let json = if is_json {
            serde_json::from_str(&came.out).with_context(|| format!("no JSON\n{}", told()))?
        } else {
            Value::Null
        };
        for (at, check) in &step.block {
            let check = self.fill(check);
            let mut parts = check.splitn(3, ' ');
            let [what, how, value] = [(); 3].map(|()| parts.next().unwrap_or_default());
            let is = match what {
                "out" => Some(json!(came.out)),
                "err" => Some(json!(came.err)),
                path => found(&json, path)?,
            };
            if how == "as" {
                let is = is.with_context(|| format!("{at}: nothing is there\n{}", told()))?;
                let is = is.as_str().map_or_else(|| is.to_string(), str::to_owned);
                self.names.insert(value.into(), is);
                continue;
            }
            let holds = holds(is.as_ref(), how, value).with_context(|| at.clone())?;
            let is = is.unwrap_or_default();
            ensure!(holds, "{at}\nexpected: {check}\ncame: {is}\n{}", told());
        }
        Ok(())
    }

    fn came(&mut self, act: &str, is_json: bool) -> Result<Came> {
        let (who, rest) = act.split_once(' ').unwrap_or((act, ""));
        let listed = |list: Vec<Value>| Came {
            end: if list.is_empty() { "no" } else { "ok" }.into(),
            out: json!(list).to_string(),
            err: String::new(),
        };
        let daemon = &self.scene.daemon;
        let uid = match who {
            "root" => 0,
            "agent" => AGENT,
            "stranger" => STRANGER,
            "log" => {
                let log = fs::read_to_string(daemon.audit())?;
                let lines = log[self.before..]
                    .lines()
                    .map(serde_json::from_str::<Value>);
                let records = lines.collect::<Result<Vec<_>, _>>()?;
                let records = records.into_iter().filter(|one| one["kind"] == rest);
                return Ok(listed(records.collect()));
            }
            "reached" => {
                let (to, port) = rest.split_once(' ').context("reached ADDRESS PORT")?;
                let production = self.production.as_ref().context("no production")?;
                let reached = production.reached_at(to, port.parse()?)?;
                return Ok(listed(reached.iter().map(|_| json!(to)).collect()));
            }
            _ => {
                let name = who.trim_end_matches('$');
                let shell = self
                    .shells
                    .get_mut(name)
                    .with_context(|| format!("who is {who}?"))?;
                if name != who {
                    let (out, status) = shell.output_of(rest)?;
                    return Ok(Came {
                        end: status.to_string(),
                        err: out.clone(),
                        out,
                    });
                }
                let [kind, to, port] = <[_; 3]>::try_from(words(rest))
                    .ok()
                    .context("KIND ADDRESS PORT")?;
                let report = shell.attempt(&Attempt::new(&kind, &to, port.parse()?))?;
                let end = if report.ok {
                    Some("ok".into())
                } else {
                    report.errno
                };
                return Ok(Came {
                    end: end.unwrap_or_else(|| "no".into()),
                    out: report.detail,
                    err: String::new(),
                });
            }
        };
        let json = is_json.then(|| "--json".to_owned());
        let output = daemon
            .user(uid, words(rest).into_iter().chain(json))
            .run()?;
        let end = output.code().context("a signal ended it")?.to_string();
        Ok(Came {
            end,
            out: output.stdout,
            err: output.stderr,
        })
    }
}

/// Finds what a path names in JSON: `.0.id`, `.` for all, `.len` at the end for a number of items.
fn found(json: &Value, path: &str) -> Result<Option<Value>> {
    let path = path
        .strip_prefix('.')
        .with_context(|| format!("{path} is no path"))?;
    let at = |path: &str| {
        let path = path.trim_matches('.').replace('.', "/");
        json.pointer(&if path.is_empty() {
            path
        } else {
            format!("/{path}")
        })
    };
    if let Some(list) = path.strip_suffix("len") {
        return Ok(at(list)
            .and_then(Value::as_array)
            .map(|list| json!(list.len())));
    }
    // Seconds from `opened_at` to `expires_at`.
    if let Some(hole) = path.strip_suffix("lasts") {
        let time = |key| {
            at(&format!("{hole}.{key}").replace("..", "."))
                .context("no hole")?
                .text()?
                .parse::<jiff::Timestamp>()
                .map_err(anyhow::Error::from)
        };
        let lasts = time("expires_at")? - time("opened_at")?;
        return Ok(Some(json!(lasts.total(jiff::Unit::Second)?.round())));
    }
    Ok(at(path).cloned())
}

/// Returns true if a value is as expected.
fn holds(is: Option<&Value>, how: &str, value: &str) -> Result<bool> {
    let wanted = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
    let null = Value::Null;
    let it = is.unwrap_or(&null);
    let number = || it.as_f64().zip(wanted.as_f64());
    let has = || match it {
        Value::String(text) => text.contains(value.trim_matches('"')),
        Value::Array(list) => list.contains(&wanted),
        _ => false,
    };
    Ok(match how {
        "=" => *it == wanted || it.as_f64().is_some_and(|it| wanted.as_f64() == Some(it)),
        "!=" => *it != wanted,
        "has" => has(),
        "lacks" => !has(),
        "<" => number().is_some_and(|(is, wanted)| is < wanted),
        ">" => number().is_some_and(|(is, wanted)| is > wanted),
        "is" => is.is_some_and(|it| {
            value.split(" or ").any(|kind| match kind {
                "text" => it.is_string(),
                "number" => it.is_number(),
                "flag" => it.is_boolean(),
                "list" => it.is_array(),
                "object" => it.is_object(),
                "null" => it.is_null(),
                "time" => it
                    .as_str()
                    .is_some_and(|it| it.ends_with('Z') && it.parse::<jiff::Timestamp>().is_ok()),
                _ => false,
            })
        }),
        _ => bail!("`{how}` compares nothing"),
    })
}

/// Splits a line at spaces outside single quotes.
fn words(line: &str) -> Vec<String> {
    let mut is_quoted = false;
    let words = line.split(|c: char| {
        is_quoted ^= c == '\'';
        c == ' ' && !is_quoted
    });
    words
        .filter(|word| !word.is_empty())
        .map(|word| word.replace('\'', ""))
        .collect()
}
