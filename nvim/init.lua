-- dipls in Neovim 0.7 or newer: copy this into your init.lua, or load it from there with dofile('…/nvim/init.lua').
--
--   <Space>r  run the cell under the cursor      <Space>i  interrupt
--   <Space>l  run a lens of the cell's header    <Space>f  free ranks that wait for others
--   <Space>a  code actions
--
-- What cells print comes in the buffer "dip output".

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

local capabilities = vim.lsp.protocol.make_client_capabilities()
capabilities.workspace.codeLens = { refreshSupport = true } -- newer ones have it themselves

local config = {
  name = 'dipls',
  cmd = { 'dipls', 'lsp' },
  root_dir = vim.fn.getcwd(),
  init_options = { ranks = 3 }, -- any setting of docs/settings.md, without its "dip."
  capabilities = capabilities,
  handlers = {
    ['workspace/codeLens/refresh'] = function()
      vim.lsp.codelens.refresh()
      return vim.NIL -- the answer: nothing
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
    -- A function that sends a command for the cell under the cursor.
    local function at_cursor(command)
      return function()
        local line = vim.api.nvim_win_get_cursor(0)[1] - 1
        local params = {
          command = command,
          arguments = { { uri = vim.uri_from_bufnr(buffer), position = { line = line, character = 0 } } },
        }
        if vim.fn.has('nvim-0.11') == 1 then
          client:request('workspace/executeCommand', params, nil, buffer)
        else
          client.request('workspace/executeCommand', params, nil, buffer)
        end
      end
    end
    map('<Space>r', at_cursor('dip.runCell'))
    map('<Space>i', at_cursor('dip.interrupt'))
    map('<Space>f', at_cursor('dip.free'))
    map('<Space>l', vim.lsp.codelens.run)
    map('<Space>a', vim.lsp.buf.code_action)
    vim.api.nvim_create_autocmd({ 'BufEnter', 'InsertLeave', 'TextChanged' }, {
      buffer = buffer,
      callback = function() vim.lsp.codelens.refresh() end,
    })
    vim.lsp.codelens.refresh()
  end,
}

local id
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
