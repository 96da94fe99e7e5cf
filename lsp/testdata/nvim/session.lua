-- A session in a real Neovim, whose init.lua is the one of README.md: what a person would press and see. What is not seen in time is an error.

local function await(what, condition)
  if not vim.wait(120000, condition, 10) then
    error('gave up waiting for ' .. what .. '; there is:\n' .. vim.inspect({
      lines = vim.api.nvim_buf_get_lines(0, 0, -1, false),
      lenses = Lenses(),
      diagnostics = vim.diagnostic.get(0),
      output = Output(),
    }))
  end
end

local function dipls()
  local clients = (vim.lsp.get_clients or vim.lsp.get_active_clients)()
  return #clients == 1 and clients[1] or nil
end

-- What stands beside each line, from 1.
function Lenses()
  local found, client = {}, dipls()
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

local function shows(text, part)
  return text ~= nil and text:find(part, 1, true) ~= nil
end

local function press(keys)
  vim.api.nvim_feedkeys(vim.api.nvim_replace_termcodes(keys, true, false, true), 'mx', false)
end

-- The first diagnostic of a class.
local function failure(class)
  for _, d in ipairs(vim.diagnostic.get(0)) do
    if d.code == class or (d.user_data and d.user_data.lsp and d.user_data.lsp.code == class) then
      return d
    end
  end
end

local function session()
  await('the server', function()
    return dipls() and vim.lsp.buf_is_attached(0, dipls().id)
  end)

  -- Lines above, in characters of every length, before the run.
  vim.api.nvim_buf_set_lines(0, 0, 0, false, { '# é 日本 🚀𝕏' })
  press('4Gdlir<Esc>') -- "import" loses its first letter, and gets a wrong one
  press('4G0ri') -- and the right one again
  vim.api.nvim_win_set_cursor(0, { 5, 0 })
  press('<Space>r')
  for rank = 0, 2 do
    await('the output of rank ' .. rank, function()
      return shows(Output(), ('[%d] hällo 🚀 from rank %d'):format(rank, rank))
    end)
  end
end

local ok, message = xpcall(session, debug.traceback)
if not ok then
  io.stderr:write(message, '\n')
  vim.cmd('cquit!')
end
vim.cmd('qall!')
