//! Lists of the API, read page by page.

use serde_json::{Value, json};

use crate::client::{Client, ClientError};

/// Items of one page.
const PAGE: u32 = 1_000;

/// All items of the list that `list` points at in the answer. `query` takes `$limit` and `$offset` beside `variables`.
///
/// # Errors
/// When the server refuses or cannot be reached.
pub(crate) async fn pages(
    client: &Client,
    query: &str,
    variables: Value,
    list: &str,
) -> Result<Vec<Value>, ClientError> {
    let mut items: Vec<Value> = Vec::new();
    loop {
        let mut variables = variables.clone();
        if let Some(variables) = variables.as_object_mut() {
            variables.insert("limit".to_owned(), json!(PAGE));
            variables.insert("offset".to_owned(), json!(items.len()));
        }
        let data = client.graphql(query, variables).await?;
        let page = data.pointer(list);
        let nodes = page.and_then(|page| page.get("nodes")).and_then(Value::as_array);
        let nodes = nodes.cloned().unwrap_or_default();
        let more = page.and_then(|page| page.pointer("/pageInfo/hasMore")) == Some(&json!(true));
        let go_on = more && !nodes.is_empty();
        items.extend(nodes);
        if !go_on {
            return Ok(items);
        }
    }
}
