//! From a step of the plan to the payload of its task: every span that the server can know is replaced, the rest travels as holes.

use std::collections::BTreeMap;

use manifold_expression::{ExpressionError, Mode, Scope, Value, capture, render};
use manifold_model::plan::StepPlan;
use manifold_model::task::{HostTarget, HttpTask, MAX_PAYLOAD, NoopTask, Payload, ScriptCluster, ScriptTask};
use manifold_model::{Failure, FailureClass, Hole, Piece, Rendered, code};
use serde_json::{Map as Json, Value as JsonValue};

use crate::command;
use crate::kubernetes::{self, Place};
use crate::scope::{LegScope, WINGS_PATHS};

/// Most values kept per attempt for people; a manifest with more is cut there.
const MAX_VALUES: usize = 500;

/// How a script on the delegate asks for a kubeconfig.
const KUBECONFIG: &str = "HARNESS_KUBE_CONFIG_PATH";

/// A payload with what went into it.
pub(crate) struct Made {
    pub payload: Payload,
    /// Delegate selectors.
    pub selectors: Vec<String>,
    /// Expressions and their values, secrets masked.
    pub values: BTreeMap<String, String>,
}

/// Renders texts of one step and collects the values used.
pub(crate) struct Renderer<'a> {
    pub scope: &'a LegScope<'a>,
    pub values: BTreeMap<String, String>,
}

/// Makes the payload of a step, on the scope's host when it has one.
///
/// # Errors
/// What cannot be rendered, as the failure of the step.
pub(crate) fn payload(step: &StepPlan, scope: &LegScope<'_>) -> Result<Made, Failure> {
    let mut renderer = Renderer { scope, values: BTreeMap::new() };
    let mut selectors = Vec::new();
    let payload = match step.task_kind.as_str() {
        "COMMAND" => Payload::Command(command::command(step, &mut renderer)?),
        "SHELL_SCRIPT" | "SHELL_SCRIPT_ON_HOST" => {
            let (task, wanted) = script(step, &mut renderer)?;
            selectors.extend(wanted);
            Payload::Script(task)
        }
        "HTTP" => Payload::Http(http(step, &mut renderer)?),
        "NOOP" => Payload::Noop(noop(step, &mut renderer)?),
        kind if kubernetes::is_kind(kind) => {
            let (task, wanted) = kubernetes::task(step, &mut renderer)?;
            selectors.extend(wanted);
            Payload::Kubernetes(Box::new(task))
        }
        other => {
            let message = format!("steps of kind {other} cannot be turned into a task by this server");
            return Err(Failure::new(FailureClass::Application, code!("STEP_KIND_UNKNOWN"), message)
                .hint("remove the step, or run a version that knows the kind"));
        }
    };
    for selector in list(&step.properties, "delegateSelectors") {
        selectors.push(renderer.known("delegateSelectors", &selector)?);
    }
    selectors.sort();
    selectors.dedup();
    let Renderer { values, .. } = renderer;
    check_size(&payload)?;
    Ok(Made { payload, selectors, values })
}

/// Refuses what would not fit into a message to a delegate.
fn check_size(payload: &Payload) -> Result<(), Failure> {
    let mut counter = Counter(0);
    let written = serde_json::to_writer(&mut counter, payload);
    if written.is_ok() && counter.0 <= MAX_PAYLOAD {
        return Ok(());
    }
    let message = format!(
        "what the step has to tell a delegate is larger than {} KiB with its expressions resolved",
        MAX_PAYLOAD / 1024
    );
    Err(Failure::new(FailureClass::Application, code!("TASK_TOO_LARGE"), message)
        .hint("shorten its texts or the values of its expressions, or split the step"))
}

/// Counts what is written, up to a little beyond [`MAX_PAYLOAD`].
struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        if self.0 > MAX_PAYLOAD {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Renderer<'_> {
    fn render(&mut self, what: &str, text: &str, mode: Mode) -> Result<Rendered, Failure> {
        if !text.contains("${") {
            return Ok(Rendered::text(text));
        }
        match render(text, self.scope as &dyn Scope, mode) {
            Ok(rendering) => {
                for (expression, value) in rendering.values {
                    if self.values.len() < MAX_VALUES {
                        self.values.insert(expression, value);
                    }
                }
                Ok(rendering.rendered)
            }
            Err(errors) => Err(unresolved(what, text, &errors)),
        }
    }

    /// A setting: what cannot be resolved is an error.
    pub(crate) fn strict(&mut self, what: &str, text: &str) -> Result<Rendered, Failure> {
        self.render(what, text, Mode::Strict)
    }

    /// A script: what cannot be resolved stays as it is.
    pub(crate) fn script(&mut self, what: &str, text: &str) -> Result<Rendered, Failure> {
        self.render(what, text, Mode::Keep)
    }

    /// A setting that the server itself must know: neither a secret nor something that only the delegate has.
    pub(crate) fn known(&mut self, what: &str, text: &str) -> Result<String, Failure> {
        let rendered = self.strict(what, text)?;
        rendered.known().ok_or_else(|| {
            let message = format!(
                "{what} must be known before the task is handed out, but reads `{}`",
                rendered.masked()
            );
            Failure::new(FailureClass::Application, code!("SETTING_NOT_KNOWN"), message)
                .hint("use neither secrets nor values that only the delegate has in this setting")
        })
    }

    /// An expression that the delegate evaluates.
    fn late(&mut self, what: &str, text: &str) -> Result<Rendered, Failure> {
        let hole =
            capture(text, self.scope as &dyn Scope).map_err(|error| unresolved(what, text, &[error]))?;
        if let Hole::Expression { known, .. } = &hole {
            for (path, value) in known {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.values.insert(path.clone(), shown);
            }
        }
        Ok(Rendered(vec![Piece::Hole(hole)]))
    }

    /// Environment variables for scripts of a service: its configuration variables and the paths that commands use.
    pub(crate) fn environment(&mut self) -> Result<Vec<(String, Rendered)>, Failure> {
        let mut environment = Vec::new();
        for (name, value) in self.scope.service_variables() {
            let rendered = match &value {
                Value::Secret(secret) => {
                    Rendered(vec![Piece::Hole(Hole::Secret { name: secret.to_string() })])
                }
                value => self.script(&format!("service variable `{name}`"), &value.display())?,
            };
            environment.push((name, rendered));
        }
        for path in &WINGS_PATHS {
            let rendered = self.script(path.default_name, self.scope.path_text(path))?;
            environment.push((path.variable.to_owned(), rendered));
        }
        Ok(environment)
    }

    /// The host of the scope with its credential: the step's own, or the infrastructure's.
    pub(crate) fn host(&mut self, step: &StepPlan) -> Result<Option<HostTarget>, Failure> {
        let Some(host) = self.scope.host else { return Ok(None) };
        let own = ["sshKeyRefName", "connectionAttributeName"]
            .iter()
            .find_map(|key| text(&step.properties, key).filter(|name| !name.is_empty()));
        let empty = Json::new();
        let properties = infrastructure_properties(self.scope).unwrap_or(&empty);
        let credential = match own.or_else(|| text(properties, "hostConnectionAttrsName")) {
            Some(name) if !name.is_empty() => self.known("the name of the SSH credential", name)?,
            _ => {
                let message = format!("no SSH credential is set for host `{host}`");
                return Err(Failure::new(
                    FailureClass::Authentication,
                    code!("HOST_CREDENTIAL_MISSING"),
                    message,
                )
                .hint("set `hostConnectionAttrsName` in the infrastructure definition"));
            }
        };
        let pinned_keys = match properties.get("hostKeys") {
            Some(JsonValue::Array(keys)) => {
                keys.iter().filter_map(JsonValue::as_str).map(str::to_owned).collect()
            }
            Some(JsonValue::String(keys)) => keys.lines().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Ok(Some(HostTarget { host: host.to_owned(), credential, pinned_keys }))
    }
}

/// Keys of the infrastructure of this part, resolved when that has been done.
pub(crate) fn infrastructure_properties<'s>(scope: &'s LegScope<'_>) -> Option<&'s Json<String, JsonValue>> {
    let phase = scope.part.phase();
    match scope.resolved().filter(|_| phase.is_some()) {
        Some(resolved) => Some(&resolved.properties),
        None => Some(&scope.map.infrastructure(phase)?.properties),
    }
}

/// The failure that says what could not be resolved, and where.
pub(crate) fn unresolved(what: &str, text: &str, errors: &[ExpressionError]) -> Failure {
    let Some(first) = errors.first() else {
        return Failure::new(FailureClass::Application, code!("EXPRESSION_UNRESOLVED"), what.to_owned());
    };
    let problem = first.problem(text);
    let mut message = format!("{what}: {}", problem.message);
    if let Some(detail) = &problem.detail {
        message.push_str(&format!(" ({detail})"));
    }
    if errors.len() > 1 {
        message.push_str(&format!(" and {} more", errors.len() - 1));
    }
    Failure { class: FailureClass::Application, code: problem.code, message, hint: problem.hint }
}

/// Says that a condition holds, with the values that its expressions have.
pub(crate) fn holds(assertion: &str, scope: &dyn Scope) -> String {
    let values = assertion.contains("${").then(|| render(assertion, scope, Mode::Keep).ok()).flatten();
    match values {
        Some(rendering) => {
            format!("skip condition is true: {assertion}, that is {}", rendering.rendered.masked())
        }
        None => format!("skip condition is true: {assertion}"),
    }
}

/// A text property; numbers and flags are written as text, `null` is absent.
pub(crate) fn text<'p>(properties: &'p Json<String, JsonValue>, key: &str) -> Option<&'p str> {
    properties.get(key).and_then(JsonValue::as_str)
}

/// A list property: a list of texts, or one text with commas.
pub(crate) fn list(properties: &Json<String, JsonValue>, key: &str) -> Vec<String> {
    let split = |text: &str| {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    match properties.get(key) {
        Some(JsonValue::Array(items)) => items.iter().filter_map(JsonValue::as_str).flat_map(split).collect(),
        Some(JsonValue::String(text)) => split(text),
        _ => Vec::new(),
    }
}

/// The task of a script with the selectors that its cluster asks for.
fn script(step: &StepPlan, renderer: &mut Renderer<'_>) -> Result<(ScriptTask, Vec<String>), Failure> {
    let properties = &step.properties;
    let language = text(properties, "scriptType").unwrap_or("BASH").trim().to_ascii_uppercase();
    let source = text(properties, "scriptString").unwrap_or_default();
    let host = renderer.host(step)?;
    let place =
        match host.is_none() && source.contains(KUBECONFIG) && kubernetes::is_on_cluster(renderer.scope) {
            true => Some(kubernetes::place(renderer)?),
            false => None,
        };
    let (cluster, selectors) = match place {
        Some(Place { target, namespace, selectors }) => {
            (Some(ScriptCluster { target, namespace }), selectors)
        }
        None => (None, Vec::new()),
    };
    let task = ScriptTask {
        host,
        language,
        script: renderer.script("the script", source)?,
        directory: renderer
            .strict("the working directory", text(properties, "commandPath").unwrap_or_default())?,
        environment: renderer.environment()?,
        outputs: list(properties, "outputVars"),
        secret_outputs: list(properties, "secretOutputVars"),
        cluster,
    };
    Ok((task, selectors))
}

fn http(step: &StepPlan, renderer: &mut Renderer<'_>) -> Result<HttpTask, Failure> {
    let properties = &step.properties;
    let method = renderer.known("the method", text(properties, "method").unwrap_or("GET"))?;
    let url = renderer.strict("the URL", text(properties, "url").unwrap_or_default())?;
    let mut headers = Vec::new();
    for (name, value) in pairs(properties, &["headers", "header"]) {
        let value = renderer.strict(&format!("header `{name}`"), &value)?;
        headers.push((renderer.known("the name of a header", &name)?, value));
    }
    let body = renderer.script("the body", text(properties, "body").unwrap_or_default())?;
    let assertion = match text(properties, "assertion").map(str::trim).filter(|text| !text.is_empty()) {
        Some(assertion) => renderer.late("the assertion", assertion)?,
        None => Rendered::default(),
    };
    let mut outputs = Vec::new();
    for (name, value) in pairs(properties, &["responseProcessingExpressions"]) {
        let value = renderer.late(&format!("variable `{name}`"), &value)?;
        outputs.push((name, value));
    }
    Ok(HttpTask {
        method: method.trim().to_ascii_uppercase(),
        url,
        headers,
        body,
        assertion,
        outputs,
        use_proxy: crate::hosts::flag(properties, "useProxy").unwrap_or(false),
    })
}

/// Names and values: a list of `{key|name, value}`, a map, or text with one `name: value` per line or comma.
fn pairs(properties: &Json<String, JsonValue>, keys: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for value in keys.iter().filter_map(|key| properties.get(*key)) {
        match value {
            JsonValue::Array(items) => items.iter().for_each(|item| match item {
                JsonValue::String(line) => found.extend(pair(line)),
                item => {
                    let name = item.get("key").or_else(|| item.get("name")).and_then(JsonValue::as_str);
                    let value = item.get("value").and_then(JsonValue::as_str);
                    found.extend(name.zip(value).map(|(name, value)| (name.to_owned(), value.to_owned())));
                }
            }),
            JsonValue::Object(map) => found.extend(
                map.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))),
            ),
            JsonValue::String(text) => found.extend(header_lines(text)),
            _ => {}
        }
    }
    found
}

/// One header per line; FirstGen also took several in a line, each after a comma (`a: 1, b: 2`).
fn header_lines(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        for (place, part) in line.split(',').enumerate() {
            let named = pair(part).filter(|(name, _)| {
                !name.is_empty() && !name.contains(char::is_whitespace) && !name.contains('$')
            });
            match (named, found.last_mut()) {
                (Some(named), _) => found.push(named),
                // A comma inside a value.
                (None, Some((_, value))) if place > 0 => {
                    value.push(',');
                    value.push_str(part);
                }
                _ => {}
            }
        }
    }
    found
}

fn pair(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

fn noop(step: &StepPlan, renderer: &mut Renderer<'_>) -> Result<NoopTask, Failure> {
    let properties = &step.properties;
    let mut outputs = BTreeMap::new();
    for (name, value) in pairs(properties, &["outputs"]) {
        let value = renderer.known(&format!("output `{name}`"), &value)?;
        outputs.insert(name, value);
    }
    let fail_attempts = match properties.get("failAttempts") {
        Some(JsonValue::Array(items)) => {
            items.iter().filter_map(|item| u32::try_from(item.as_u64()?).ok()).collect()
        }
        _ => Vec::new(),
    };
    let fail = match text(properties, "fail").filter(|text| !text.is_empty()) {
        Some(fail) => FailureClass::parse(&renderer.known("fail", fail)?),
        None => None,
    };
    Ok(NoopTask {
        duration_ms: crate::hosts::number(properties, "durationMs").unwrap_or_default(),
        fail,
        fail_attempts,
        outputs,
    })
}
