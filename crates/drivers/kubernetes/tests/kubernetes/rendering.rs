//! Manifests are rendered, with the real helm.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use manifold_driver::contract::Known;
use manifold_driver_kubernetes::helm::Helm;
use manifold_driver_kubernetes::render::{Files, OBJECTS_LIMIT, Rendering, Request, place, render};
use manifold_model::kubernetes::{Manifests, TextFile};
use manifold_model::task::FileSource;
use manifold_model::{Failure, FailureClass, Hole, Piece, Rendered};
use tokio::time::Instant;

/// Manifests of files and values, and the resolver that has them.
#[derive(Default)]
pub struct Given {
    pub manifests: Manifests,
    pub known: Known,
}

impl Given {
    pub fn file(mut self, path: &str, text: &str) -> Self {
        let file = self.put(&format!("Manifests/Files/{path}"), path, text);
        self.manifests.files.push(file);
        self
    }

    pub fn values(mut self, path: &str, text: &str) -> Self {
        let file = self.put(path, path, text);
        self.manifests.values.push(file);
        self
    }

    pub fn templated(mut self) -> Self {
        self.manifests.templated = true;
        self
    }

    pub fn span(mut self, span: &str, value: Rendered) -> Self {
        self.manifests.spans.insert(span.to_owned(), value);
        self
    }

    fn put(&mut self, document: &str, path: &str, text: &str) -> TextFile {
        self.known.files.insert(document.to_owned(), Bytes::from(text.to_owned()));
        let source = FileSource::Document { path: document.to_owned(), revision: 1 };
        TextFile { path: path.to_owned(), source }
    }

    async fn rendered(&self, files: Files<'_>) -> Result<Rendering, Failure> {
        self.rendered_within(files, Duration::from_secs(50)).await
    }

    async fn rendered_within(&self, files: Files<'_>, time: Duration) -> Result<Rendering, Failure> {
        let helm = Helm::new(manifold_testkit::programs::program("helm").unwrap());
        let request = Request {
            manifests: &self.manifests,
            files,
            release: "release-1",
            namespace: "shop",
            helm: Some(&helm),
            deadline: Instant::now() + time,
        };
        render(&request, &self.known).await
    }
}

fn config(name: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata: {data}\n")
}

fn names(rendering: &Rendering) -> Vec<String> {
    rendering.objects.iter().map(|object| object.resource().to_string()).collect()
}

fn secret(name: &str) -> Rendered {
    Rendered(vec![Piece::Hole(Hole::Secret { name: name.to_owned() })])
}

#[tokio::test]
async fn plain_files_are_taken_as_they_are() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2}\n";
    let skipped = format!("# harness.io/skip-file-for-deploy\n{}", config("later", "{}"));
    let mut given = Given::default()
        .file("a-web.yaml", deployment)
        .file(
            "b.yaml",
            &config(
                "conf",
                "{\"a\": \"{{ .Values.x }}\", \"b\": \"${service.name}\", \"c\": \"${no.such}\"}",
            ),
        )
        .file("job.yaml", &skipped)
        .file("README.md", "# not a manifest")
        .values("values.yaml", "x: 1\n")
        .span("${service.name}", Rendered::text("shop"));
    let rendering = given.rendered(Files::Deployed).await.unwrap();
    assert_eq!(names(&rendering), ["ConfigMap/conf", "Deployment/web"]);
    let data = &rendering.objects[0].0["data"];
    assert_eq!(
        (&data["a"], &data["b"], &data["c"]),
        (&"{{ .Values.x }}".into(), &"shop".into(), &"${no.such}".into())
    );
    assert!(!rendering.secret);
    assert_eq!(rendering.notes.len(), 2, "{:?}", rendering.notes);

    // By its path a file is applied though it is not deployed.
    let paths = ["/job.yaml".to_owned()];
    let named = given.rendered(Files::Named { paths: &paths, plain: false }).await.unwrap();
    assert_eq!(names(&named), ["ConfigMap/later"]);
    let missing = ["jobs.yaml".to_owned()];
    let failure = given.rendered(Files::Named { paths: &missing, plain: false }).await.unwrap_err();
    assert_eq!(failure.message, "there is no jobs.yaml among the manifests of the service");

    // What was exported is deployed again as it was.
    given.manifests.inherited = Some(Rendered::text(rendering.text.clone()));
    given.manifests.files.clear();
    let again = given.rendered(Files::Deployed).await.unwrap();
    assert_eq!(again.objects, rendering.objects);
}

#[tokio::test]
async fn templates_get_merged_values() {
    let helper = "{{- define \"labels\" -}}\napp: {{ .Values.app.name }}\n{{- end -}}\n";
    let web = "{{- range .Values.names }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ . }}\n  namespace: {{ $.Release.Namespace }}\n  \
               labels:\n    {{- include \"labels\" $ | nindent 4 }}\ndata: {tag: {{ $.Values.app.tag | quote }}, release: {{ $.Release.Name }}, \
               token: {{ $.Values.token | quote }}}\n{{- end }}\n";
    let mut given = Given::default()
        .file("templates/_helpers.tpl", helper)
        .file("templates/web.yaml", web)
        .file("skip.yaml", "# harness.io/skip-file-for-deploy {{ fail \"never rendered\" }}\n")
        .values("Services/web/values.yaml", "app: {name: web, tag: v1}\nnames: [a]\ntoken: none\n")
        .values("Environments/prod/values.yaml", "app: {tag: \"${artifact.tag}\"}\nnames: [b, c]\n")
        .span("${artifact.tag}", Rendered::text("v2"))
        .span("${secrets.getValue(\"t\")}", secret("t"))
        .templated();
    given.manifests.inline_values = Some(Rendered(vec![
        Piece::Text("token: ".to_owned()),
        Piece::Hole(Hole::Secret { name: "t".to_owned() }),
    ]));
    given.known.secrets = BTreeMap::from([("t".to_owned(), "hunter2".to_owned())]);
    let rendering = given.rendered(Files::Deployed).await.unwrap();
    assert_eq!(names(&rendering), ["shop/ConfigMap/b", "shop/ConfigMap/c"]);
    let object = &rendering.objects[0].0;
    assert_eq!(object["metadata"]["labels"]["app"], "web");
    assert_eq!(object["data"], serde_json::json!({"tag": "v2", "release": "release-1", "token": "hunter2"}));
    assert!(rendering.secret && rendering.text.contains("# Source: manifests/templates/templates/web.yaml"));

    // A file that is applied as it is sees no templates.
    let paths = ["skip.yaml".to_owned()];
    let plain = given.rendered(Files::Named { paths: &paths, plain: true }).await.unwrap();
    assert!(plain.objects.is_empty());
    let failure = given.rendered(Files::Named { paths: &paths, plain: false }).await.unwrap_err();
    assert!(failure.message.contains("never rendered"), "{failure:?}");
}

#[tokio::test]
async fn wrong_templates_are_told_with_their_place() {
    let failed = async |file: &str, text: &str| {
        let given = Given::default().file(file, text).templated();
        given.rendered_within(Files::Deployed, Duration::from_secs(20)).await.unwrap_err()
    };
    let failure = failed("web.yaml", "a: 1\nb: {{ .Values.q.r.s }}\n").await;
    assert_eq!(failure.code.to_string(), "K8S_TEMPLATE_FAILED");
    assert!(
        failure.message.contains("web.yaml:2:") && failure.message.contains("nil pointer"),
        "{failure:?}"
    );
    let failure =
        failed("web.yaml", &format!("{}---\nkind: {{{{ \"[\" }}}}\n x: 2\n", config("a", "{}"))).await;
    assert!(failure.message.contains("YAML parse error on web.yaml"), "{failure:?}");
    let failure = failed("web.yaml", &config("a", "{}\nextra: 1\nextra: 2")).await;
    assert!(failure.message.contains("web.yaml as rendered, document 1, line 7"), "{failure:?}");
    let failure =
        failed("web.yaml", "{{- define \"a\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}").await;
    assert_eq!(failure.class, FailureClass::Application, "{failure:?}");
    let failure = failed("../web.yaml", "a: 1").await;
    assert!(failure.message.contains("is not the path of a template"), "{failure:?}");
}

#[tokio::test]
async fn templates_without_end_are_stopped() {
    let given = Given::default()
        .file("a.yaml", "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}\n")
        .templated();
    let begun = Instant::now();
    let failure = given.rendered_within(Files::Deployed, Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.to_string().as_str()),
        (FailureClass::Timeout, "K8S_TEMPLATE_TIMEOUT")
    );
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // Too much memory, too much text.
    let given = Given::default().file("a.yaml", "{{ range until 1000000000 }}{{ end }}\n").templated();
    let failure = given.rendered(Files::Deployed).await.unwrap_err();
    assert!(failure.message.ends_with("they took more than 2048 MiB of memory"), "{failure:?}");
    let text =
        format!("{}{{{{ range until 300000 }}}}\n# {}{{{{ end }}}}\n", config("a", "{}"), "x".repeat(60));
    let given = Given::default().file("a.yaml", &text).templated();
    let failure = given.rendered(Files::Deployed).await.unwrap_err();
    assert!(failure.message.ends_with("they rendered to more than 10485760 bytes"), "{failure:?}");
}

#[tokio::test]
async fn without_helm_plain_manifests_work_and_templates_are_refused() {
    let mut given = Given::default().file("a.yaml", &config("a", "{}"));
    let request = |given: &Given| Request {
        manifests: Box::leak(Box::new(given.manifests.clone())),
        files: Files::Deployed,
        release: "r",
        namespace: "n",
        helm: None,
        deadline: Instant::now() + Duration::from_secs(5),
    };
    assert_eq!(render(&request(&given), &given.known).await.unwrap().objects.len(), 1);
    given.manifests.templated = true;
    let failure = render(&request(&given), &given.known).await.unwrap_err();
    assert_eq!(failure.code.to_string(), "K8S_HELM_MISSING");
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let many: String =
        (0..=OBJECTS_LIMIT).map(|n| format!("---\n{}", config(&format!("a{n}"), "{}"))).collect();
    let failure = Given::default().file("a.yaml", &many).rendered(Files::Deployed).await.unwrap_err();
    assert!(failure.message.starts_with("the manifests hold 1001 objects"), "{failure:?}");
    let mut given = Given::default();
    for n in 0..11 {
        given = given.file(&format!("{n}.yaml"), &config(&format!("a{n}"), &"x".repeat(1 << 20)));
    }
    let failure = given.rendered(Files::Deployed).await.unwrap_err();
    assert_eq!(failure.code.to_string(), "K8S_MANIFESTS_TOO_LARGE");
}

#[tokio::test]
async fn objects_get_their_namespace() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: made, namespace: odd}\n---\napiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t, namespace: x}\n---\n\
                apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec: {group: example.com, scope: Cluster, names: {kind: Thing}}\n";
    let given = Given::default().file("a.yaml", text).file("b.yaml", &config("a", "{}"));
    let mut rendering = given.rendered(Files::Deployed).await.unwrap();
    place(&mut rendering.objects, "shop", |_| None).unwrap();
    assert_eq!(
        names(&rendering),
        ["Namespace/made", "CustomResourceDefinition/things.example.com", "shop/ConfigMap/a", "Thing/t"]
    );
    let twice = Given::default().file("a.yaml", &config("a", "{}")).file("b.yaml", &config("a", "{}"));
    let mut rendering = twice.rendered(Files::Deployed).await.unwrap();
    let failure = place(&mut rendering.objects, "shop", |_| None).unwrap_err();
    assert_eq!(failure.message, "the manifests hold shop/ConfigMap/a twice");
}
