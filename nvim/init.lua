-- dipls in Neovim 0.7 or newer: copy this into your init.lua, or load it from there with dofile('…/nvim/init.lua').
--
--   <Space>r  run the cell under the cursor      <Space>i  interrupt
--   <Space>l  run a lens of the cell's header    <Space>f  free ranks that wait for others
--   <Space>a  code actions                       <Space>s  sessions: attach to one
--
--   :DipSessions  :DipAttach NAME  :DipRename NAME  :DipStop [NAME]  :DipFreeMemory
--
-- What cells print comes in the buffer "dip output". A session goes on when Neovim ends, and the next one shows what was missed: docs/sessions.md.

-- The buffer for output, in a window below the first time.
local function output()
  local buffer = vim.fn.bufadd('dip output')
  if not vim.api.nvim_buf_is_loaded(buffer) then
    vim.fn.bufload(buffer)
    vim.bo[buffer].buftype = 'nofile'
    vim.cmd('botright 10split | buffer ' .. buffer .. ' | wincmd p')
  end
  return buffer
end

-- Sends a request for a buffer.
local function request(client, buffer, method, params, answered)
  if vim.fn.has('nvim-0.11') == 1 then
    client:request(method, params, answered, buffer)
  else
    client.request(method, params, answered, buffer)
  end
end

-- Asks for the lenses of a buffer. vim.lsp.codelens.refresh would do nothing while it waits for earlier ones.
local function refresh(client, buffer)
  local params = { textDocument = { uri = vim.uri_from_bufnr(buffer) } }
  request(client, buffer, 'textDocument/codeLens', params, vim.lsp.codelens.on_codelens)
end

-- Sends a command for a buffer. Its answer is given to done, or shown if it is a sentence.
local function execute(client, buffer, command, argument, done)
  request(client, buffer, 'workspace/executeCommand', { command = command, arguments = { argument } }, function(err, answer)
    if err then
      vim.notify(err.message, vim.log.levels.ERROR)
    elseif done then
      done(answer)
    elseif answer.text then
      vim.notify(answer.text)
    end
  end)
end

-- Lets the user choose a session to attach to.
local function sessions(client, buffer)
  execute(client, buffer, 'dip.sessions', { uri = vim.uri_from_bufnr(buffer) }, function(answer)
    if answer.own then
      table.insert(answer.sessions, { text = 'its own session, in ' .. answer.own, dir = answer.own })
    end
    if #answer.sessions == 0 then
      return vim.notify('there is no session: the first cell that runs starts one')
    end
    vim.ui.select(answer.sessions, {
      prompt = 'Attach to a session:',
      format_item = function(session) return session.text end,
    }, function(session)
      if session then
        execute(client, buffer, 'dip.attachSession', { name = session.name, dir = session.dir })
      end
    end)
  end)
end

local capabilities = vim.lsp.protocol.make_client_capabilities()
capabilities.workspace.codeLens = { refreshSupport = true } -- newer ones have it themselves

local id -- of the client, before 0.8

local config = {
  name = 'dipls',
  cmd = { 'dipls', 'lsp' },
  root_dir = vim.fn.getcwd(),
  init_options = { ranks = 3, input = true }, -- any setting of docs/settings.md, without its "dip."
  capabilities = capabilities,
  handlers = {
    ['workspace/codeLens/refresh'] = function(_, _, context)
      local client = vim.lsp.get_client_by_id(context.client_id)
      for _, buffer in ipairs(vim.lsp.get_buffers_by_client_id(context.client_id)) do
        refresh(client, buffer)
      end
      return vim.NIL -- the answer: nothing
    end,
    ['dip/input'] = function(_, params) -- what code wants to be typed
      local ask = (params.who ~= '' and params.who .. ': ' or '') .. params.prompt
      local typed, text = pcall(params.password and vim.fn.inputsecret or vim.fn.input, { prompt = ask, cancelreturn = vim.NIL })
      return typed and text ~= vim.NIL and { text = text } or vim.NIL -- after Ctrl-C or Escape the question stays
    end,
    ['window/logMessage'] = function(_, params)
      local buffer = output()
      vim.api.nvim_buf_set_lines(buffer, -1, -1, false, vim.split(params.message, '\n'))
      for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
        vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(buffer), 0 })
      end
    end,
  },
  on_attach = function(client, buffer)
    local function map(keys, action)
      vim.keymap.set('n', keys, action, { buffer = buffer })
    end
    local uri = vim.uri_from_bufnr(buffer)
    -- A function that sends a command for the cell under the cursor.
    local function at_cursor(command)
      return function()
        local line = vim.api.nvim_win_get_cursor(0)[1] - 1
        execute(client, buffer, command, { uri = uri, position = { line = line, character = 0 } })
      end
    end
    -- Makes a command of Neovim's that sends one of the server, with the name of a session.
    local function for_session(name, command, nargs)
      vim.api.nvim_buf_create_user_command(buffer, name, function(typed)
        execute(client, buffer, command, { uri = uri, name = typed.args ~= '' and typed.args or nil })
      end, { nargs = nargs })
    end
    for_session('DipAttach', 'dip.attachSession', 1)
    for_session('DipRename', 'dip.renameSession', 1)
    for_session('DipStop', 'dip.stopSession', '?')
    for_session('DipFreeMemory', 'dip.freeMemory', 0)
    vim.api.nvim_buf_create_user_command(buffer, 'DipSessions', function() sessions(client, buffer) end, {})
    map('<Space>s', function() sessions(client, buffer) end)
    map('<Space>r', at_cursor('dip.runCell'))
    map('<Space>i', at_cursor('dip.interrupt'))
    map('<Space>f', at_cursor('dip.free'))
    map('<Space>l', vim.lsp.codelens.run)
    map('<Space>a', vim.lsp.buf.code_action)
    vim.api.nvim_create_autocmd({ 'BufEnter', 'InsertLeave', 'TextChanged' }, {
      buffer = buffer,
      callback = function() refresh(client, buffer) end,
    })
    refresh(client, buffer)
  end,
  on_exit = function(code, signal)
    id = nil
    if code ~= 0 or signal ~= 0 then
      vim.schedule(function()
        vim.notify('dipls has ended, and what it has run in a session goes on: :edit starts it again and shows that', vim.log.levels.ERROR)
      end)
    end
  end,
}

vim.api.nvim_create_autocmd('FileType', {
  pattern = 'python',
  callback = function(event)
    if vim.lsp.start then -- since 0.8
      vim.lsp.start(config)
    else
      id = id or vim.lsp.start_client(config)
      vim.lsp.buf_attach_client(event.buf, id)
    end
  end,
})
