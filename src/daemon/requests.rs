//! Requests over MQTT, for whoever answers those of the socket.

use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::admin::{Handler, Verb};
use crate::gallery::Name;
use crate::publish::Asked;

/// Requests that may wait; the desk refuses further ones.
const ROOM: usize = 4;

/// Starts to answer.
pub(super) fn start(runtime: &Runtime, handler: Handler) -> mpsc::Sender<Asked> {
    let (sender, mut asked) = mpsc::channel::<Asked>(ROOM);
    runtime.spawn(async move {
        while let Some(asked) = asked.recv().await {
            let answer = match verb(&asked.verb, &asked.arguments) {
                Ok(verb) => handler.ask(verb).await,
                Err(problem) => Err(problem),
            };
            // Who asked may have gone.
            let _ = asked.answer.send(answer);
        }
    });
    sender
}

/// What is asked for.
fn verb(verb: &str, arguments: &Map<String, Value>) -> Result<Verb, String> {
    match verb {
        "people" => Ok(Verb::People),
        "reload" => Ok(Verb::Reload),
        "enroll" => {
            let text = |key: &str| {
                let text = arguments.get(key).and_then(Value::as_str);
                text.ok_or_else(|| format!("`{key}` is missing; enroll needs `camera` and `name`, both text"))
            };
            Ok(Verb::EnrolUnknown {
                camera: text("camera")?.to_owned(),
                name: Name::parse(text("name")?).map_err(|error| error.to_string())?,
            })
        }
        other => Err(format!("there is no request `{other}`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(name: &str, arguments: &Value) -> Result<Verb, String> {
        verb(name, arguments.as_object().unwrap())
    }

    #[test]
    fn requests_become_verbs_or_a_sentence() {
        assert_eq!(asked("people", &json!({})), Ok(Verb::People));
        assert_eq!(asked("reload", &json!({"transaction": 1})), Ok(Verb::Reload));
        let enrol = asked("enroll", &json!({"camera": "door", "name": "Carol"}));
        assert!(matches!(enrol, Ok(Verb::EnrolUnknown { camera, .. }) if camera == "door"));
        assert!(
            asked("enroll", &json!({"camera": "door"}))
                .unwrap_err()
                .contains("`name` is missing")
        );
        assert!(asked("enroll", &json!({"camera": "door", "name": "a\nb"})).is_err());
        assert!(
            asked("enroll", &json!({"camera": 3, "name": "Carol"}))
                .unwrap_err()
                .contains("`camera`")
        );
    }
}
