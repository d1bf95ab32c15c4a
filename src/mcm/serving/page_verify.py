"""The page's tab that verifies a file; the file goes to `POST /v1/verify` and is kept nowhere."""

from __future__ import annotations

import gradio as gr

from mcm.serving.verification import FILE, MANIFEST

_CHOICE = f"""<div class="choice">
<label>File <input type="file" id="verify-{FILE}"></label>
<label>Manifest beside it, if it has one (.c2pa)
<input type="file" id="verify-{MANIFEST}" accept=".c2pa"></label></div>"""

_ASK = f"""async () => {{
  const chosen = (name) => document.getElementById('verify-' + name).files[0];
  const file = chosen('{FILE}'), manifest = chosen('{MANIFEST}');
  if (!file) return 'file: choose one first';
  const name = file.name.replace(/[\\p{{C}}\\p{{Zl}}\\p{{Zp}}]/gu, '?');
  const body = new FormData();
  body.append('{FILE}', file);
  if (manifest) body.append('{MANIFEST}', manifest);
  try {{
    const headers = {{Accept: 'text/plain'}};
    const answer = await fetch('../v1/verify', {{method: 'POST', body, headers}});
    if (answer.ok) return (await answer.text()).replace(/^body/, () => name);
    const told = await answer.json().catch(() => null);
    return told?.error?.message ?? `${{answer.status}} ${{answer.statusText}}`;
  }} catch (error) {{
    return String(error);
  }}
}}"""


def verify_tab() -> None:
    """Lay out the tab inside the page's blocks."""
    with gr.Tab("Verify"):
        gr.HTML(_CHOICE)
        go = gr.Button("Verify", variant="primary")
        report = gr.Textbox(label="Report", lines=8, interactive=False, elem_id="report")
        go.click(None, None, report, js=_ASK)
