//! What an MCP client reads.

use std::path::PathBuf;
use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::tools::{self, Tool, ToolResult};

/// Calls that are made of guardd at once; others wait. One session may have 32 connections.
const AT_ONCE: usize = 8;
/// An answer has so many bytes at most.
const MAX_ANSWER: usize = 32 * 1024;

const INSTRUCTIONS: &str = "\
guard decides, in the kernel, what this session may reach over the network. A connection that failed with EPERM \
(\"Operation not permitted\") or ECONNABORTED, or an HTTP request that was answered with 403 by guard, was stopped by a \
policy: call `why` to be told by which rule, and what to do instead. `request` asks a person for a destination that the \
work needs; give the reason, they read it. `status` lists what looks like production: call it before you change anything on \
a server or in a database. Go on with something else meanwhile. Do not retry in a loop and do not look \
for another way there: all of it is stopped, and written down.";

/// The server: it knows where guardd listens, and nothing else.
#[derive(Clone, Debug)]
pub(super) struct Server {
    socket: Arc<PathBuf>,
    calls: Arc<Semaphore>,
}

impl Server {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self {
            socket: Arc::new(socket),
            calls: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Calls guardd; the client of it is a blocking one.
    async fn told(&self, tool: Tool) -> ToolResult {
        let Ok(permit) = Arc::clone(&self.calls).acquire_owned().await else {
            return ToolResult::no("guard mcp is about to end");
        };
        let socket = Arc::clone(&self.socket);
        let told = spawn_blocking(move || {
            let told = tool.call(&socket);
            drop(permit);
            told
        });
        told.await
            .unwrap_or_else(|error| ToolResult::no(error.to_string()))
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let server = Implementation::new("guard", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(server)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = match Tool::read(&request.name, request.arguments) {
            Ok(Some(tool)) => tool,
            Ok(None) => {
                let known = format!("there is no tool {:?}", request.name);
                return Err(ErrorData::invalid_params(known, None));
            }
            Err(told) => return Ok(answer(told).into()),
        };
        tokio::select! {
            told = self.told(tool) => Ok(answer(told).into()),
            // A client that has cancelled reads no answer.
            () = context.ct.cancelled() => Err(ErrorData::internal_error("cancelled", None)),
        }
    }
}

/// What a model reads. That something could not be done is for it to read as well.
fn answer(told: ToolResult) -> CallToolResult {
    let mut text = told.text;
    if text.len() > MAX_ANSWER {
        text.truncate(text.floor_char_boundary(MAX_ANSWER));
        text.push('…');
    }
    let content = vec![ContentBlock::text(text)];
    if told.done {
        CallToolResult::success(content)
    } else {
        CallToolResult::error(content)
    }
}
