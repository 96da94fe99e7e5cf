-- What a person does and sees in a real Neovim with nvim/init.lua. What does not appear in time is an error.

function Await(what, condition)
  if not vim.wait(120000, condition, 10) then
    error('gave up waiting for ' .. what .. '; there is:\n' .. vim.inspect({
      lines = vim.api.nvim_buf_get_lines(0, 0, -1, false),
      lenses = Lenses(),
      diagnostics = vim.diagnostic.get(0),
      output = Output(),
    }))
  end
end

function Dipls()
  local clients = (vim.lsp.get_clients or vim.lsp.get_active_clients)()
  return #clients == 1 and clients[1] or nil
end

-- What stands beside each line, from 1.
function Lenses()
  local found, client = {}, Dipls()
  local namespace = client and vim.lsp.codelens.__namespaces[client.id]
  if not namespace then
    return found
  end
  for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })) do
    for _, chunk in ipairs(mark[4].virt_text) do
      found[mark[2] + 1] = (found[mark[2] + 1] or '') .. chunk[1]
    end
  end
  return found
end

function Output()
  local buffer = vim.fn.bufnr('dip output')
  return buffer < 0 and '' or table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, false), '\n')
end

function Shows(text, part)
  return text ~= nil and text:find(part, 1, true) ~= nil
end

function Press(keys)
  vim.api.nvim_feedkeys(vim.api.nvim_replace_termcodes(keys, true, false, true), 'mx', false)
end

-- The first diagnostic of a class.
function Failure(class)
  for _, d in ipairs(vim.diagnostic.get(0)) do
    if d.code == class or (d.user_data and d.user_data.lsp and d.user_data.lsp.code == class) then
      return d
    end
  end
end

-- Does what a person does, and leaves Neovim.
function Do(what)
  local ok, message = xpcall(what, debug.traceback)
  if not ok then
    io.stderr:write(message, '\n')
    vim.cmd('cquit!')
  end
  vim.cmd('qall!')
end
